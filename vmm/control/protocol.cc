// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/protocol.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace vmm::control {
namespace {

using Json = nlohmann::ordered_json;

std::string to_line(const Json& json) {
  // File names need not be UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json error(std::string message) {
  return {{"ok", false}, {"error", std::move(message)}};
}

const char* state_of(const Target& target) {
  return target.paused() ? "paused" : "running";
}

bool flag(const Json& request, const char* name) {
  const auto found = request.find(name);
  return found != request.end() && found->is_boolean() && found->get<bool>();
}

Json stop(const Json& request, Target& target) {
  if (flag(request, "force")) {
    target.end();
    return {{"ok", true}};
  }
  if (target.paused()) return error("it is paused, and cannot see its power button");
  target.press_power_button();
  return {{"ok", true}};
}

Json outcome(const Result<void>& done) {
  if (done) return {{"ok", true}};
  return error(done.error().message());
}

// A member that is a whole number; nothing where there is none. Sets `bad` for what is neither.
std::optional<std::uint64_t> number(const Json& request, const char* name, std::string& bad) {
  const auto found = request.find(name);
  if (found == request.end()) return {};
  if (found->is_number_unsigned()) return found->get<std::uint64_t>();
  bad = fmt::format("'{}' must be a whole number", name);
  return {};
}

// A member that is text, and not empty; nothing else.
const std::string* text(const Json& request, const char* name) {
  const auto found = request.find(name);
  if (found == request.end() || !found->is_string()) return nullptr;
  const auto* value = found->get_ptr<const std::string*>();
  return value->empty() ? nullptr : value;
}

Json snapshot(const Json& request, const std::string& disk, Target& target) {
  const std::string* action = text(request, "action");
  if (action == nullptr) return error("the request has no string 'action'");
  if (*action == "list") {
    Result<Json> all = target.snapshots(disk);
    if (!all) return error(all.error().message());
    return {{"ok", true}, {"snapshots", std::move(*all)}};
  }
  const std::string* name = text(request, "name");
  if (name == nullptr) return error("the request has no string 'name'");
  using Change = Target::SnapshotChange;
  if (*action == "create") return outcome(target.change_snapshot(disk, Change::kCreate, *name));
  if (*action == "delete") return outcome(target.change_snapshot(disk, Change::kDelete, *name));
  if (*action == "apply") {
    return error("the guest uses the disk: a snapshot is applied when the machine has ended");
  }
  return error("'action' must be list, create or delete");
}

Json attach(const Json& request, Target& target, std::vector<UniqueFd> fds) {
  const std::string* option = text(request, "option");
  if (option == nullptr) return error("the request has no string 'option'");
  const auto names = request.find("files");
  if (names == request.end() || !names->is_array() || names->size() != fds.size() || fds.empty()) {
    return error("the request must name the files that come with it, in 'files'");
  }
  std::vector<GivenFile> files;
  for (const Json& name : *names) {
    if (!name.is_string()) return error("'files' must hold names");
    files.push_back({name.get<std::string>(), std::move(fds[files.size()])});
  }
  const Result<std::string> disk = target.attach_disk(*option, std::move(files));
  if (!disk) return error(disk.error().message());
  return {{"ok", true}, {"disk", *disk}};
}

// The commands that are about one disk.
Json steer_disk(const Json& request, std::string_view command, Target& target) {
  const auto disk = request.find("disk");
  if (disk == request.end() || !disk->is_string()) return error("the request has no string 'disk'");
  const std::string& name = disk->get_ref<const std::string&>();
  if (command == "snapshot") return snapshot(request, name, target);
  if (command == "detach") return outcome(target.detach_disk(name));
  std::string bad;
  if (command == "resize") {
    const auto size = number(request, "size", bad);
    if (!bad.empty() || !size) return error(bad.empty() ? "the request has no 'size'" : bad);
    return outcome(target.grow_disk(name, *size));
  }
  const auto operations = number(request, "iops", bad), bytes = number(request, "bw", bad);
  if (!bad.empty()) return error(bad);
  return outcome(target.limit_disk(name, operations, bytes));
}

Json carry_out(const Json& request, Target& target, std::vector<UniqueFd> files) {
  if (!request.is_object()) return error("a request is one JSON object on one line");
  const auto found = request.find("command");
  if (found == request.end() || !found->is_string()) {
    return error("the request has no string 'command'");
  }
  const std::string& command = found->get_ref<const std::string&>();
  if (command == "stop") return stop(request, target);
  if (command == "pause") {
    if (target.pause()) return {{"ok", true}};
    return error("a vCPU is held up by a device and pauses when it is free");
  }
  if (command == "resume") {
    target.resume();
    return {{"ok", true}};
  }
  if (command == "stat")
    return {{"ok", true}, {"state", state_of(target)}, {"stat", target.stat()}};
  if (command == "debug") return {{"ok", true}, {"vcpus", target.debug()}};
  if (command == "attach") return attach(request, target, std::move(files));
  if (command == "resize" || command == "limit" || command == "snapshot" || command == "detach") {
    return steer_disk(request, command, target);
  }
  if (command == "balloon") {
    std::string bad;
    const auto size = number(request, "size", bad);
    if (!size) return error(bad.empty() ? "the request has no 'size'" : bad);
    return outcome(target.inflate(*size));
  }
  return error(
      fmt::format("there is no command '{}'; known are stop, pause, resume, stat, resize, "
                  "limit, snapshot, attach, detach, balloon, debug, console",
                  command));
}

}  // namespace

std::string greeting(std::string_view version, std::string_view name, const Target& target) {
  return to_line({{"vmm", version},
                  {"protocol", kProtocolVersion},
                  {"name", name},
                  {"state", state_of(target)}});
}

std::string answer(std::string_view request, Target& target, std::vector<UniqueFd> files,
                   bool* console) {
  const Json parsed = Json::parse(request.begin(), request.end(), nullptr,
                                  /*allow_exceptions=*/false);
  if (console != nullptr && parsed.is_object() && parsed.value("command", Json()) == "console") {
    *console = true;
    return to_line({{"ok", true}});
  }
  return to_line(carry_out(parsed, target, std::move(files)));
}

}  // namespace vmm::control
