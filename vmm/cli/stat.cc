// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/stat.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "vmm/cli/balloon.h"
#include "vmm/cli/command_line.h"
#include "vmm/cli/json_fields.h"
#include "vmm/cli/metrics.h"
#include "vmm/cli/stat_rates.h"
#include "vmm/cli/steer.h"
#include "vmm/control/directory.h"

namespace vmm::cli {
namespace {

std::string bytes(std::uint64_t count) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  double value = static_cast<double>(count);
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", count) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string describe_vcpu(const Json& vcpu) {
  const Json& exits = field(vcpu, "exits");
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

// Nothing where there is no limit.
std::string describe_limits(const Json& disk) {
  const std::uint64_t operations = number(disk, "iops"), rate = number(disk, "bw");
  std::string limits;
  if (operations != 0) limits = fmt::format("{} requests", operations);
  if (rate != 0) limits += fmt::format("{}{}", limits.empty() ? "" : " and ", bytes(rate));
  return limits.empty() ? "" : fmt::format("  at most {} per second\n", limits);
}

std::string describe_vsock(const Json& vsock) {
  if (!vsock.is_object()) return "";
  return fmt::format("vsock: {} connections now, {} in all; {} from the guest, {} to it\n",
                     number(vsock, "open"), number(vsock, "opened"),
                     bytes(number(vsock, "from_guest_bytes")),
                     bytes(number(vsock, "to_guest_bytes")));
}

std::string describe_disk(const Json& disk) {
  if (field(disk, "file") == "") {
    return fmt::format("{}: a bay, and nothing in it\n", text(disk, "name"));
  }
  std::string lines = fmt::format(
      "{}: {} ({}, {}{})\n  {} reads ({}), {} writes ({}), {} flushes, {} discards, {} failures\n",
      text(disk, "name"), text(disk, "file"), text(disk, "format"), bytes(number(disk, "size")),
      field(disk, "read_only") == true ? ", read-only" : "", number(disk, "reads"),
      bytes(number(disk, "read_bytes")), number(disk, "writes"),
      bytes(number(disk, "written_bytes")), number(disk, "flushes"), number(disk, "discards"),
      number(disk, "failures"));
  lines += describe_limits(disk);
  if (field(disk, "caches").is_null()) return lines + "  caches: its thread does not answer\n";
  for (const Json& cache : field(disk, "caches")) lines += describe_cache(cache);
  return lines;
}

}  // namespace

std::string describe_stat(const std::string& name, int pid, const std::string& answer) {
  const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
  const Json& stat = field(parsed, "stat");
  std::string lines = fmt::format(
      "{}: {}, process {}, up {:.1f} s, {} of memory\n", name, text(parsed, "state"), pid,
      static_cast<double>(number(stat, "uptime_ms")) / 1000, bytes(number(stat, "memory")));
  for (const Json& vcpu : field(stat, "vcpus")) lines += describe_vcpu(vcpu);
  for (const Json& disk : field(stat, "disks")) lines += describe_disk(disk);
  return lines + describe_vsock(field(stat, "vsock")) + describe_balloon(answer);
}

namespace {

struct StatFlags {
  std::optional<std::string> name;
  std::string output = "human";
  bool follow = false, metrics = false;
  double interval = 1;      // seconds
  std::uint64_t count = 0;  // 0: until the machine ends
};

void add_options(CommandLine& app, StatFlags& flags) {
  app.add_option("NAME", flags.name,
                 "The virtual machine, as 'vmm list' shows it; --metrics can do without");
  app.add_option("--output", flags.output,
                 "How to show it; docs/control.md describes the fields of json")
      ->one_of({"human", "json"})
      ->capture_default_str();
  Option* follow =
      app.add_flag("-f,--follow", flags.follow,
                   "Show what happens per second, anew each interval, until the machine ends; with "
                   "json, what has been counted, a line each time");
  app.add_option("--interval", flags.interval, "How long to wait between two looks, with --follow")
      ->type_name("SECONDS")
      ->in_range(0.05, 86400.0)
      ->needs(follow)
      ->capture_default_str();
  app.add_option("--count", flags.count, "End after so many looks, with --follow")
      ->type_name("N")
      ->needs(follow);
  app.add_flag("--metrics", flags.metrics,
               "As text for Prometheus, of the machine NAME, or of all that run")
      ->excludes(follow);
}

Json to_json(const MachineSample& sample) {
  const Json parsed = Json::parse(sample.answer, nullptr, /*allow_exceptions=*/false);
  Json json = {{"name", sample.name}, {"pid", sample.pid}, {"state", field(parsed, "state")}};
  if (field(parsed, "stat").is_object()) json.update(field(parsed, "stat"));
  return json;
}

Result<MachineSample> sample_of(control::Client& machine, const std::string& name) {
  VMM_TRY(std::string answer, ask_machine(machine, name, R"({"command":"stat"})"));
  return MachineSample{name, machine.pid(), std::move(answer)};
}

// A machine that ends meanwhile is none of those that run.
Result<int> print_metrics(const std::optional<std::string>& name) {
  std::vector<MachineSample> samples;
  const std::vector<std::string> names =
      name ? std::vector<std::string>{*name} : names_of_machines();
  for (const std::string& each : names) {
    Result<control::Client> machine = find_machine(each);
    if (!machine && !name) continue;
    if (!machine) return Unexpected(std::move(machine).error());
    Result<MachineSample> sample = sample_of(*machine, each);
    if (!sample && !name) continue;
    if (!sample) return Unexpected(std::move(sample).error());
    samples.push_back(*std::move(sample));
  }
  fmt::print("{}", describe_metrics(samples));
  return kExitSuccess;
}

void print_look(const StatFlags& flags, const std::optional<MachineSample>& before,
                const MachineSample& now) {
  if (flags.output == "json") {
    fmt::print("{}\n", to_json(now).dump(-1, ' ', false, Json::error_handler_t::replace));
  } else if (before) {
    // A terminal shows the newest look alone.
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    fmt::print("{}{}{}", terminal ? "\033[H\033[J" : "", describe_rates(*before, now),
               terminal ? "" : "\n");
  }
  std::fflush(stdout);
}

// Nothing: the machine has ended. One that boots again counts from 0.
Result<std::optional<MachineSample>> next_look(control::Client& machine, const std::string& name) {
  Result<MachineSample> sample = sample_of(machine, name);
  if (sample) return std::optional(*std::move(sample));
  Result<control::Client> again = find_machine(name);
  if (!again && again.error().kind() == ErrorKind::kNotFound) {
    return std::optional<MachineSample>();
  }
  if (!again) return Unexpected(std::move(again).error());
  machine = *std::move(again);
  VMM_TRY(MachineSample first, sample_of(machine, name));
  return std::optional(std::move(first));
}

Result<int> follow(control::Client machine, const StatFlags& flags) {
  // The first look of people's kind has nothing to compare with, and shows nothing.
  std::optional<MachineSample> before;
  std::uint64_t left = flags.count + (flags.count != 0 && flags.output == "human" ? 1 : 0);
  while (true) {
    VMM_TRY(std::optional<MachineSample> now, next_look(machine, *flags.name));
    if (!now) return kExitSuccess;
    print_look(flags, before, *now);
    before = std::move(now);
    if (std::ferror(stdout) != 0 || (flags.count != 0 && --left == 0)) return kExitSuccess;
    const auto pause = std::chrono::duration<double>(flags.interval);
    if (machine.wait_for_end(std::chrono::ceil<std::chrono::milliseconds>(pause))) continue;
  }
}

}  // namespace

Result<int> stat_command(const Arguments& arguments) {
  CommandLine app("Tells what a running virtual machine has done so far, or does.");
  StatFlags flags;
  add_options(app, flags);
  if (std::optional<int> status = parse(app, arguments)) return *status;
  if (flags.metrics) return print_metrics(flags.name);
  if (!flags.name) {
    return fail(ErrorKind::kInvalid, "stat: give the NAME of a machine; 'vmm list' shows them");
  }
  VMM_TRY(control::Client machine, find_machine(*flags.name));
  if (flags.follow) return follow(std::move(machine), flags);
  VMM_TRY(const MachineSample sample, sample_of(machine, *flags.name));
  if (flags.output == "human") {
    fmt::print("{}", describe_stat(sample.name, sample.pid, sample.answer));
  } else {
    fmt::print("{}\n", to_json(sample).dump(2, ' ', false, Json::error_handler_t::replace));
  }
  return kExitSuccess;
}

}  // namespace vmm::cli
