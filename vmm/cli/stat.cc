// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/stat.h"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "vmm/cli/steer.h"

namespace vmm::cli {
namespace {

using Json = nlohmann::ordered_json;

const Json& at(const Json& json, const char* key) {
  static const Json nothing;
  if (!json.is_object()) return nothing;
  const auto found = json.find(key);
  return found != json.end() ? *found : nothing;
}

std::uint64_t number(const Json& json, const char* key) {
  const Json& value = at(json, key);
  return value.is_number_integer() ? value.get<std::uint64_t>() : 0;
}

// Of a machine that this user runs; control characters in a file's name are still not for the
// terminal.
std::string text(const Json& json, const char* key) {
  const Json& value = at(json, key);
  std::string plain = value.is_string() ? value.get<std::string>() : "?";
  for (char& c : plain) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return plain;
}

std::string bytes(std::uint64_t count) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  double value = static_cast<double>(count);
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", count) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string describe_vcpu(const Json& vcpu) {
  const Json& exits = at(vcpu, "exits");
  return fmt::format("vCPU {}: {}, {:.2f} s of processor time; exits: {} port, {} MMIO, {} other\n",
                     number(vcpu, "id"), text(vcpu, "state"),
                     static_cast<double>(number(vcpu, "cpu_time_ns")) / 1e9, number(exits, "port"),
                     number(exits, "mmio"), number(exits, "other"));
}

std::string describe_cache(const Json& cache) {
  const std::uint64_t size = number(cache, "size");
  return fmt::format("  {} cache{}: {} hits, {} misses, {} evictions, {} write-backs\n",
                     text(cache, "name"), size != 0 ? fmt::format(" of {}", bytes(size)) : "",
                     number(cache, "hits"), number(cache, "misses"), number(cache, "evictions"),
                     number(cache, "write_backs"));
}

std::string describe_disk(const Json& disk) {
  std::string lines = fmt::format(
      "{}: {} ({}, {}{})\n  {} reads ({}), {} writes ({}), {} flushes, {} discards, {} failures\n",
      text(disk, "name"), text(disk, "file"), text(disk, "format"), bytes(number(disk, "size")),
      at(disk, "read_only") == true ? ", read-only" : "", number(disk, "reads"),
      bytes(number(disk, "read_bytes")), number(disk, "writes"),
      bytes(number(disk, "written_bytes")), number(disk, "flushes"), number(disk, "discards"),
      number(disk, "failures"));
  if (at(disk, "caches").is_null()) return lines + "  caches: its thread does not answer\n";
  for (const Json& cache : at(disk, "caches")) lines += describe_cache(cache);
  return lines;
}

}  // namespace

std::string describe_stat(const std::string& name, int pid, const std::string& answer) {
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  const Json& stat = at(parsed, "stat");
  std::string lines = fmt::format(
      "{}: {}, process {}, up {:.1f} s, {} of memory\n", name, text(parsed, "state"), pid,
      static_cast<double>(number(stat, "uptime_ms")) / 1000, bytes(number(stat, "memory")));
  for (const Json& vcpu : at(stat, "vcpus")) lines += describe_vcpu(vcpu);
  for (const Json& disk : at(stat, "disks")) lines += describe_disk(disk);
  return lines;
}

Result<int> stat_command(const Arguments& arguments) {
  CLI::App app("Tells what a running virtual machine has done so far.");
  std::string name, output = "human";
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  app.add_option("--output", output, "How to show it; docs/control.md describes the fields of json")
      ->check(CLI::IsMember({"human", "json"}))
      ->capture_default_str();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  VMM_TRY(control::Client machine, find_machine(name));
  VMM_TRY(const std::string answer, ask_machine(machine, name, R"({"command":"stat"})"));
  if (output == "human") {
    fmt::print("{}", describe_stat(name, machine.pid(), answer));
    return kExitSuccess;
  }
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  Json json = {{"name", name}, {"pid", machine.pid()}, {"state", at(parsed, "state")}};
  if (at(parsed, "stat").is_object()) json.update(at(parsed, "stat"));
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
  return kExitSuccess;
}

}  // namespace vmm::cli
