// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "vmm/cli/doctor_checks.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::cli;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

ProbeResult good() {
  return {.instructions_per_second = 3e9, .cmpxchg16b = true, .xrstor = true, .has_xsave = true};
}

}  // namespace

TEST_CASE("doctor: a fast guest that runs everything is fine", "[doctor]") {
  CHECK(judge_probe(good()).status == Check::Status::kOk);
  ProbeResult old = good();
  old.has_xsave = old.xrstor = false;
  CHECK(judge_probe(old).status == Check::Status::kOk);
}

TEST_CASE("doctor: a /dev/kvm that only interprets is called by its name", "[doctor]") {
  ProbeResult slow = good();
  slow.instructions_per_second = 2e6;
  CHECK(judge_probe(slow).status == Check::Status::kFailed);
  CHECK(contains(judge_probe(slow).detail, "only interprets guests: 2 million instructions/s"));

  slow.cmpxchg16b = slow.xrstor = false;
  slow.failure = "vCPU 0: KVM_EXIT_INTERNAL_ERROR";
  CHECK(contains(judge_probe(slow).detail, "cannot run cmpxchg16b"));
}

TEST_CASE("doctor: missing instructions and hangs fail, whatever the speed", "[doctor]") {
  ProbeResult lacking = good();
  lacking.xrstor = false;
  lacking.failure = "vCPU 0: broken";
  CHECK(contains(judge_probe(lacking).detail, "stopped at xrstor: vCPU 0: broken"));
  ProbeResult dead;
  dead.failure = "it was not through within 5 s";
  CHECK(judge_probe(dead).status == Check::Status::kFailed);
  CHECK(contains(judge_probe(dead).detail, "not through"));
}

TEST_CASE("doctor: without /dev/kvm the verdict is no, and says what to do", "[doctor]") {
  DoctorReport report = examine("/nonexistent/kvm");
  CHECK_FALSE(report.can_run_guests());
  CHECK(contains(report.summary(), "/nonexistent/kvm: No such file"));
  REQUIRE_FALSE(report.checks.empty());
  CHECK(contains(report.checks[0].advice, "modprobe"));
}

TEST_CASE("doctor: a small memory lock limit is only a warning", "[doctor]") {
  CHECK(check_memory_lock(8 << 20, false).status == Check::Status::kWarning);
  CHECK(check_memory_lock(8 << 20, true).status == Check::Status::kOk);
  CHECK(check_memory_lock(~std::uint64_t{0}, false).status == Check::Status::kOk);
}
