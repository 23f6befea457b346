// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/steer.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "vmm/cli/command_line.h"
#include "vmm/control/directory.h"
#include "vmm/control/listener.h"

namespace vmm::cli {
namespace {

using control::Client;
using Json = nlohmann::ordered_json;

constexpr double kStopTimeout = 60;  // seconds
constexpr double kEndTimeout = 10;   // for one that must not ask its guest

struct Row {
  std::string name, state;
  int pid = 0;  // 0: not known
};

std::string text_at(const Json& json, const char* key) {
  if (!json.is_object()) return "";
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

Row row_of(const std::string& directory, const std::string& name) {
  Result<Client> machine = Client::connect_to(directory, name);
  if (!machine) return {name, "no answer", 0};
  const Json greeting = Json::parse(machine->greeting(), nullptr, /*allow_exceptions=*/false);
  std::string state = text_at(greeting, "state");
  return {name, state.empty() ? "unknown" : std::move(state), machine->pid()};
}

struct Place {
  std::string directory, name;
};

// Sockets that were left behind are removed on the way.
std::vector<Place> running_machines() {
  std::vector<Place> places;
  for (const std::string& directory : control::directories()) {
    if (!control::open_directory(directory, /*make=*/false)) continue;
    for (std::string& name : control::names_in(directory)) {
      if (!control::remove_if_stale(directory, name))
        places.push_back({directory, std::move(name)});
    }
  }
  return places;
}

void print_rows(const std::vector<Row>& rows) {
  std::size_t width = 4;
  for (const Row& row : rows) width = std::max(width, row.name.size());
  fmt::print("{:{}}  {:>7}  STATE\n", "NAME", width, "PID");
  for (const Row& row : rows) {
    fmt::print("{:{}}  {:>7}  {}\n", row.name, width, row.pid != 0 ? std::to_string(row.pid) : "-",
               row.state);
  }
}

std::chrono::milliseconds to_milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

// Where a machine's control thread drops a connection the machine need not have ended.
bool has_ended(Client& machine, const std::string& name, double timeout) {
  if (!machine.wait_for_end(to_milliseconds(timeout))) return false;
  Result<Client> again = find_machine(name);
  return !again && again.error().kind() == ErrorKind::kNotFound;
}

// A command that is a name and one request.
Result<int> simple_command(const Arguments& arguments, const char* about, const char* request) {
  CommandLine app(about);
  std::string name;
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  VMM_TRY(Client machine, find_machine(name));
  VMM_TRY([[maybe_unused]] std::string answer, ask_machine(machine, name, request));
  return kExitSuccess;
}

}  // namespace

std::vector<std::string> names_of_machines() {
  std::vector<std::string> names;
  for (Place& place : running_machines()) names.push_back(std::move(place.name));
  return names;
}

Result<Client> find_machine(const std::string& name) {
  VMM_CHECK(control::check_name(name));
  Result<Client> machine = fail(ErrorKind::kNotFound, "");
  for (const std::string& directory : control::directories()) {
    if (!control::open_directory(directory, /*make=*/false)) continue;
    machine = Client::connect_to(directory, name);
    if (machine || machine.error().kind() != ErrorKind::kNotFound) return machine;
  }
  return fail(ErrorKind::kNotFound,
              fmt::format("no virtual machine of this user named '{}' runs; 'vmm list' shows those "
                          "that do",
                          name));
}

Result<std::string> ask_machine(Client& machine, const std::string& name, std::string_view request,
                                std::span<const UniqueFd> files) {
  VMM_TRY(std::string line, machine.ask(request, files));
  const Json answer = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (answer.is_object() && answer.contains("ok") && answer["ok"] == true) return line;
  const std::string why = text_at(answer, "error");
  return fail(ErrorKind::kInvalid,
              fmt::format("{}: {}", name, why.empty() ? "an answer that makes no sense" : why));
}

Result<int> list_command(const Arguments& arguments) {
  CommandLine app("Lists the virtual machines that this user runs.");
  std::string output = "human";
  app.add_option("--output", output, "How to show them")
      ->one_of({"human", "json"})
      ->capture_default_str();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  std::vector<Row> rows;
  for (const Place& place : running_machines()) rows.push_back(row_of(place.directory, place.name));
  if (output == "human") {
    print_rows(rows);
    return kExitSuccess;
  }
  Json json = Json::array();
  for (const Row& row : rows) {
    json.push_back({{"name", row.name}, {"pid", row.pid}, {"state", row.state}});
  }
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
  return kExitSuccess;
}

Result<int> stop_command(const Arguments& arguments) {
  CommandLine app(
      "Presses the power button of a virtual machine, and waits until it has shut down.");
  std::string name;
  bool force = false;
  double timeout = kStopTimeout;
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_flag("-f,--force", force,
               "End it at once, without asking the guest; its disks are flushed and closed");
  app.add_option("-t,--timeout", timeout,
                 "How long to wait for the guest; 0 comes back as soon as the button is pressed")
      ->type_name("SECONDS")
      ->in_range(0.0, 1e6)
      ->capture_default_str();
  if (std::optional<int> status = parse(app, arguments)) return *status;

  VMM_TRY(Client machine, find_machine(name));
  VMM_TRY([[maybe_unused]] std::string answer,
          ask_machine(machine, name,
                      force ? R"({"command":"stop","force":true})" : R"({"command":"stop"})"));
  if (timeout == 0 && !force) return kExitSuccess;
  if (has_ended(machine, name, force ? kEndTimeout : timeout)) return kExitSuccess;
  return fail(ErrorKind::kBusy,
              force
                  ? fmt::format("{} still runs: its disks may be slow, or hang", name)
                  : fmt::format("{} still runs after {} s: its guest may ignore the power button; "
                                "--force ends it at once",
                                name, timeout));
}

Result<int> pause_command(const Arguments& arguments) {
  return simple_command(arguments,
                        "Makes the processors of a virtual machine stand still. Disk requests that "
                        "are under way are carried out.",
                        R"({"command":"pause"})");
}

Result<int> resume_command(const Arguments& arguments) {
  return simple_command(arguments, "Lets a paused virtual machine go on.",
                        R"({"command":"resume"})");
}

}  // namespace vmm::cli
