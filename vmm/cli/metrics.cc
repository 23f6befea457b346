// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/metrics.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/cli/json_fields.h"

namespace vmm::cli {
namespace {

// Backslash, quote and newline are what the format escapes in a label.
std::string in_quotes(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') text += '\\';
    text += c;
  }
  return text + '"';
}

// All samples of one name, which the format wants together.
class Family {
 public:
  Family(std::string name, std::string_view type, std::string_view help) : name_(std::move(name)) {
    lines_ = fmt::format("# HELP {} {}\n# TYPE {} {}\n", name_, help, name_, type);
  }
  void add(const std::string& labels, std::uint64_t value) {
    lines_ += fmt::format("{}{{{}}} {}\n", name_, labels, value);
  }
  // Nanoseconds, as the seconds that Prometheus counts in.
  void add_time(const std::string& labels, std::uint64_t ns) {
    lines_ +=
        fmt::format("{}{{{}}} {}.{:09}\n", name_, labels, ns / 1'000'000'000, ns % 1'000'000'000);
  }
  const std::string& lines() const { return lines_; }

 private:
  std::string name_, lines_;
};

struct Machine {
  std::string labels;  // vm="..."
  Json answer;
  const Json& stat() const { return field(answer, "stat"); }
};

using Machines = std::vector<Machine>;

std::string describe_machines(const Machines& machines) {
  Family running("vmm_running", "gauge", "1: the machine runs; 0: it is paused.");
  Family uptime("vmm_uptime_seconds", "gauge", "Time since this boot.");
  Family memory("vmm_memory_bytes", "gauge", "The guest's memory.");
  Family asked("vmm_balloon_target_bytes", "gauge", "What the guest shall do without.");
  Family given("vmm_balloon_actual_bytes", "gauge", "What the guest says it has given.");
  for (const Machine& machine : machines) {
    const Json& balloon = field(machine.stat(), "balloon");
    if (balloon.is_object()) {
      asked.add(machine.labels, number(balloon, "target"));
      given.add(machine.labels, number(balloon, "actual"));
    }
    running.add(machine.labels, field(machine.answer, "state") == "running" ? 1 : 0);
    uptime.add_time(machine.labels, number(machine.stat(), "uptime_ms") * 1'000'000);
    memory.add(machine.labels, number(machine.stat(), "memory"));
  }
  return running.lines() + uptime.lines() + memory.lines() + asked.lines() + given.lines();
}

std::string describe_vcpus(const Machines& machines) {
  Family time("vmm_vcpu_cpu_seconds_total", "counter", "Processor time of the vCPU's thread.");
  Family exits("vmm_vcpu_exits_total", "counter", "Exits of the vCPU to vmm, by kind.");
  for (const Machine& machine : machines) {
    for (const Json& vcpu : field(machine.stat(), "vcpus")) {
      const std::string labels = fmt::format("{},vcpu=\"{}\"", machine.labels, number(vcpu, "id"));
      time.add_time(labels, number(vcpu, "cpu_time_ns"));
      for (const char* kind : {"port", "mmio", "other"}) {
        exits.add(fmt::format("{},kind=\"{}\"", labels, kind), number(field(vcpu, "exits"), kind));
      }
    }
  }
  return time.lines() + exits.lines();
}

struct DiskLabels {
  std::string labels;  // vm="...",disk="vda"
  const Json& disk;
};

std::vector<DiskLabels> disks_of(const Machines& machines) {
  std::vector<DiskLabels> disks;
  for (const Machine& machine : machines) {
    for (const Json& disk : field(machine.stat(), "disks")) {
      disks.push_back(
          {fmt::format("{},disk={}", machine.labels, in_quotes(text(disk, "name"))), disk});
    }
  }
  return disks;
}

std::string describe_disks(const Machines& machines) {
  Family info("vmm_disk_info", "gauge", "The image behind the disk.");
  Family size("vmm_disk_size_bytes", "gauge", "The disk's size, as the guest sees it.");
  Family requests("vmm_disk_requests_total", "counter", "Requests answered well, by kind.");
  Family bytes("vmm_disk_bytes_total", "counter", "Bytes of good answers.");
  Family time("vmm_disk_seconds_total", "counter",
              "Time that requests took: divided by their number, the latency.");
  Family failures("vmm_disk_failures_total", "counter", "Requests answered with an error.");
  Family iops("vmm_disk_limit_requests", "gauge", "Requests per second at most; 0: no limit.");
  Family bandwidth("vmm_disk_limit_bytes", "gauge", "Bytes per second at most; 0: no limit.");
  Family waiting("vmm_disk_waiting", "gauge", "1: a change that failed waits to be tried again.");
  for (const DiskLabels& each : disks_of(machines)) {
    const Json& disk = each.disk;
    info.add(fmt::format("{},file={},format={}", each.labels, in_quotes(text(disk, "file")),
                         in_quotes(text(disk, "format"))),
             1);
    size.add(each.labels, number(disk, "size"));
    auto kind = [&](const char* name) { return fmt::format("{},kind=\"{}\"", each.labels, name); };
    requests.add(kind("read"), number(disk, "reads"));
    requests.add(kind("write"), number(disk, "writes"));
    requests.add(kind("flush"), number(disk, "flushes"));
    requests.add(kind("discard"), number(disk, "discards"));
    bytes.add(kind("read"), number(disk, "read_bytes"));
    bytes.add(kind("write"), number(disk, "written_bytes"));
    time.add_time(kind("read"), number(disk, "read_ns"));
    time.add_time(kind("write"), number(disk, "write_ns"));
    time.add_time(kind("flush"), number(disk, "flush_ns"));
    failures.add(each.labels, number(disk, "failures"));
    iops.add(each.labels, number(disk, "iops"));
    bandwidth.add(each.labels, number(disk, "bw"));
    waiting.add(each.labels, field(disk, "waiting") == true ? 1 : 0);
  }
  return info.lines() + size.lines() + requests.lines() + bytes.lines() + time.lines() +
         failures.lines() + iops.lines() + bandwidth.lines() + waiting.lines();
}

std::string describe_vsocks(const Machines& machines) {
  Family open("vmm_vsock_connections", "gauge", "Connections between the guest and the host.");
  Family opened("vmm_vsock_connections_opened_total", "counter", "All there have been.");
  Family bytes("vmm_vsock_bytes_total", "counter", "Bytes, by where they come from.");
  for (const Machine& machine : machines) {
    const Json& vsock = field(machine.stat(), "vsock");
    if (!vsock.is_object()) continue;
    open.add(machine.labels, number(vsock, "open"));
    opened.add(machine.labels, number(vsock, "opened"));
    bytes.add(machine.labels + ",from=\"guest\"", number(vsock, "from_guest_bytes"));
    bytes.add(machine.labels + ",from=\"host\"", number(vsock, "to_guest_bytes"));
  }
  return open.lines() + opened.lines() + bytes.lines();
}

std::string describe_caches(const Machines& machines) {
  Family hits("vmm_disk_cache_hits_total", "counter", "Metadata found in the cache.");
  Family misses("vmm_disk_cache_misses_total", "counter", "Metadata that had to be read.");
  Family evictions("vmm_disk_cache_evictions_total", "counter", "Entries that made room.");
  Family write_backs("vmm_disk_cache_write_backs_total", "counter", "Entries written.");
  for (const DiskLabels& each : disks_of(machines)) {
    for (const Json& cache : field(each.disk, "caches")) {
      const std::string labels =
          fmt::format("{},cache={}", each.labels, in_quotes(text(cache, "name")));
      hits.add(labels, number(cache, "hits"));
      misses.add(labels, number(cache, "misses"));
      evictions.add(labels, number(cache, "evictions"));
      write_backs.add(labels, number(cache, "write_backs"));
    }
  }
  return hits.lines() + misses.lines() + evictions.lines() + write_backs.lines();
}

}  // namespace

std::string describe_metrics(std::span<const MachineSample> samples) {
  Machines machines;
  for (const MachineSample& sample : samples) {
    machines.push_back({"vm=" + in_quotes(sample.name),
                        Json::parse(sample.answer, nullptr, /*allow_exceptions=*/false)});
  }
  return describe_machines(machines) + describe_vcpus(machines) + describe_disks(machines) +
         describe_caches(machines) + describe_vsocks(machines);
}

}  // namespace vmm::cli
