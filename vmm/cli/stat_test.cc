// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/stat.h"

#include "vmm/cli/metrics.h"
#include "vmm/cli/stat_rates.h"
#include "vmm/core/testing/catch.h"

namespace vmm::cli {
namespace {

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// A machine that has run for `seconds`, with one disk, whose counters are multiples of `n`.
MachineSample sample(unsigned seconds, unsigned n) {
  auto times = [&](unsigned value) { return std::to_string(n * value); };
  return {"web", 42,
          R"({"ok":true,"state":"running","stat":{"uptime_ms":)" + std::to_string(1000 * seconds) +
              R"(,"memory":1024,"vcpus":[{"id":0,"state":"running","cpu_time_ns":)" +
              times(500'000'000) + R"(,"exits":{"port":)" + times(10) +
              R"(,"mmio":2,"other":0}}],"disks":[{"name":"vda","file":"a\"b\\c\n.img",)"
              R"("format":"qcow2","size":4096,"read_only":false,"reads":)" +
              times(100) + R"(,"read_bytes":)" + times(2097152) + R"(,"read_ns":)" +
              times(25'000'000) +
              R"(,"writes":7,"written_bytes":7,"write_ns":7,"flushes":0,"discards":0,)"
              R"("failures":0,"waiting":true,"caches":[{"name":"l2","hits":)" +
              times(3) + R"(,"misses":)" + times(1) + R"(,"evictions":0}]}]}})"};
}

TEST_CASE("stat --follow: shows the change between two looks, per second", "[cli]") {
  const std::string lines = describe_rates(sample(10, 2), sample(12, 6));
  CHECK(has(lines, "web: running, process 42, up 12.0 s\n"));
  // 4 * 0.5 s of 2 s; 4 * 10 in 2 s.
  CHECK(has(lines, "\n0       100.0        20         0         0  running\n"));
  // 400 reads in 2 s, 4 MiB/s, 0.25 ms each; 12 of 16 in the cache; no writes.
  CHECK(has(lines, "\nvda       200      4.0    0.25         0      0.0       -"));
  CHECK(has(lines, " 75.0\n"));
}

TEST_CASE("stat --follow: a machine that booted again counts from 0", "[cli]") {
  const std::string lines = describe_rates(sample(100, 50), sample(2, 4));
  CHECK(has(lines, "\n0       100.0        20 "));
  CHECK(has(lines, "\nvda       200      4.0    0.25"));
}

TEST_CASE("stat --follow: an answer that makes no sense is shown as nothing", "[cli]") {
  for (const char* answer : {"", "{}", "[1]", R"({"stat":[]})", R"({"stat":{"vcpus":3}})",
                             R"({"stat":{"vcpus":[7],"disks":[null,{"caches":"x"}]}})"}) {
    const MachineSample odd{"web", 1, answer};
    CHECK(has(describe_rates(odd, odd), "web: ?"));
    CHECK(has(describe_rates(sample(1, 1), odd), "web: ?"));
    CHECK(has(describe_metrics(std::span(&odd, 1)), "vmm_running{vm=\"web\"} 0\n"));
    CHECK(has(describe_stat("web", 1, answer), "web: ?"));
  }
}

TEST_CASE("stat: tells of a disk's limits where it has any, and of vsock", "[cli]") {
  auto answer = [](const char* limits, const char* vsock) {
    return std::string(R"({"state":"running","stat":{"disks":[{"name":"vda","file":"a",)") +
           limits + R"("caches":[]}])" + vsock + "}}";
  };
  const std::string none = describe_stat("web", 1, answer(R"("iops":0,"bw":0,)", ""));
  CHECK(has(none, "vda: a"));
  CHECK_FALSE(has(none, "at most"));
  CHECK_FALSE(has(none, "vsock"));
  CHECK(has(describe_stat("web", 1, answer(R"("iops":500,"bw":0,)", "")),
            "\n  at most 500 requests per second\n"));
  CHECK(has(describe_stat("web", 1, answer(R"("iops":0,"bw":2048,)", "")),
            "\n  at most 2.0 KiB per second\n"));
  const std::string all =
      answer(R"("iops":500,"bw":2048,)", R"(,"vsock":{"open":2,"opened":5,)"
                                         R"("from_guest_bytes":7,"to_guest_bytes":1024})");
  const std::string text = describe_stat("web", 1, all);
  CHECK(has(text, "\n  at most 500 requests and 2.0 KiB per second\n"));
  CHECK(has(text, "\nvsock: 2 connections now, 5 in all; 7 B from the guest, 1.0 KiB to it\n"));
  const MachineSample web{"web", 1, all};
  const std::string metrics = describe_metrics(std::span(&web, 1));
  CHECK(has(metrics, "vmm_disk_limit_requests{vm=\"web\",disk=\"vda\"} 500\n"));
  CHECK(has(metrics, "vmm_disk_limit_bytes{vm=\"web\",disk=\"vda\"} 2048\n"));
  CHECK(has(metrics, "vmm_vsock_connections{vm=\"web\"} 2\n"));
  CHECK(has(metrics, "vmm_vsock_connections_opened_total{vm=\"web\"} 5\n"));
  CHECK(has(metrics, "vmm_vsock_bytes_total{vm=\"web\",from=\"guest\"} 7\n"));
  CHECK(has(metrics, "vmm_vsock_bytes_total{vm=\"web\",from=\"host\"} 1024\n"));
}

TEST_CASE("stat --metrics: is what Prometheus reads, each family once", "[cli]") {
  const MachineSample samples[] = {sample(1, 1), {"other", 7, sample(2, 2).answer}};
  const std::string text = describe_metrics(samples);
  const std::size_t first = text.find("# TYPE vmm_vcpu_exits_total counter\n");
  REQUIRE(first != text.npos);
  CHECK(text.find("# TYPE vmm_vcpu_exits_total", first + 1) == text.npos);
  CHECK(has(text, "vmm_vcpu_exits_total{vm=\"web\",vcpu=\"0\",kind=\"port\"} 10\n"));
  CHECK(has(text, "vmm_vcpu_exits_total{vm=\"other\",vcpu=\"0\",kind=\"port\"} 20\n"));
  CHECK(has(text, "vmm_vcpu_cpu_seconds_total{vm=\"web\",vcpu=\"0\"} 0.500000000\n"));
  CHECK(has(text, "vmm_disk_seconds_total{vm=\"web\",disk=\"vda\",kind=\"read\"} 0.025000000\n"));
  CHECK(has(text, "vmm_disk_waiting{vm=\"web\",disk=\"vda\"} 1\n"));
  CHECK(has(text, "vmm_disk_cache_hits_total{vm=\"other\",disk=\"vda\",cache=\"l2\"} 6\n"));
  // Control characters are replaced before, quotes and backslashes escaped.
  CHECK(has(text, "file=\"a\\\"b\\\\c?.img\",format=\"qcow2\"} 1\n"));
}

}  // namespace
}  // namespace vmm::cli
