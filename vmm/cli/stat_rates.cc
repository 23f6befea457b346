// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/stat_rates.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vmm/cli/json_fields.h"

namespace vmm::cli {
namespace {

constexpr double kMiB = 1 << 20;

// One object of both looks, and the time between them.
struct Pair {
  const Json& before;
  const Json& now;
  double seconds;

  std::uint64_t change(const char* key) const {
    const std::uint64_t old = number(before, key), current = number(now, key);
    return current >= old ? current - old : current;
  }
  double rate(const char* key) const { return static_cast<double>(change(key)) / seconds; }
  // Milliseconds that one of `count` took.
  std::string latency(const char* sum_ns, const char* count) const {
    if (change(count) == 0) return "-";
    return fmt::format(
        "{:.2f}", static_cast<double>(change(sum_ns)) / static_cast<double>(change(count)) / 1e6);
  }
};

const Json& nth(const Json& array, std::size_t index) {
  static const Json nothing;
  return array.is_array() && index < array.size() ? array[index] : nothing;
}

// A machine that booted again began anew, with its clock.
double seconds_between(const Json& before, const Json& now) {
  const std::uint64_t from = number(before, "uptime_ms"), to = number(now, "uptime_ms");
  const std::uint64_t elapsed = to >= from ? to - from : to;
  return std::max(static_cast<double>(elapsed) / 1000, 1e-3);
}

std::string describe_vcpu(const Pair& vcpu) {
  const Pair exits{field(vcpu.before, "exits"), field(vcpu.now, "exits"), vcpu.seconds};
  return fmt::format("{:<5} {:>7.1f} {:>9.0f} {:>9.0f} {:>9.0f}  {}\n", number(vcpu.now, "id"),
                     vcpu.rate("cpu_time_ns") / 1e7, exits.rate("port"), exits.rate("mmio"),
                     exits.rate("other"), text(vcpu.now, "state"));
}

std::string hit_rate(const Pair& cache) {
  const std::uint64_t hits = cache.change("hits"), all = hits + cache.change("misses");
  if (all == 0) return "-";
  return fmt::format("{:.1f}", 100 * static_cast<double>(hits) / static_cast<double>(all));
}

std::string describe_disk(const Pair& disk) {
  const Pair cache{nth(field(disk.before, "caches"), 0), nth(field(disk.now, "caches"), 0),
                   disk.seconds};
  return fmt::format("{:<5} {:>7.0f} {:>8.1f} {:>7} {:>9.0f} {:>8.1f} {:>7} {:>8.0f} {:>7} {:>8}\n",
                     text(disk.now, "name"), disk.rate("reads"), disk.rate("read_bytes") / kMiB,
                     disk.latency("read_ns", "reads"), disk.rate("writes"),
                     disk.rate("written_bytes") / kMiB, disk.latency("write_ns", "writes"),
                     disk.rate("flushes"), disk.latency("flush_ns", "flushes"), hit_rate(cache));
}

}  // namespace

std::string describe_rates(const MachineSample& before, const MachineSample& now) {
  const Json first = Json::parse(before.answer, nullptr, /*allow_exceptions=*/false);
  const Json second = Json::parse(now.answer, nullptr, /*allow_exceptions=*/false);
  const Json &old = field(first, "stat"), &current = field(second, "stat");
  const double seconds = seconds_between(old, current);
  std::string lines =
      fmt::format("{}: {}, process {}, up {:.1f} s\n", now.name, text(second, "state"), now.pid,
                  static_cast<double>(number(current, "uptime_ms")) / 1000);
  lines += "vCPU    CPU %    port/s    MMIO/s   other/s\n";
  for (std::size_t i = 0; i < field(current, "vcpus").size(); ++i) {
    lines += describe_vcpu({nth(field(old, "vcpus"), i), nth(field(current, "vcpus"), i), seconds});
  }
  if (field(current, "disks").empty()) return lines;
  lines += "disk  reads/s    MiB/s      ms  writes/s    MiB/s      ms flushes/s    ms  L2 hit %\n";
  for (std::size_t i = 0; i < field(current, "disks").size(); ++i) {
    lines += describe_disk({nth(field(old, "disks"), i), nth(field(current, "disks"), i), seconds});
  }
  return lines;
}

}  // namespace vmm::cli
