// SPDX-License-Identifier: Apache-2.0
// What `vmm doctor` looks at.
#pragma once

#include <string>
#include <vector>

#include "vmm/kvm/kvm.h"
#include "vmm/probe_guest.h"

namespace vmm::cli {

struct Check {
  enum class Status {
    kOk,
    kWarning,  // vmm works, but less well
    kFailed,   // a stock Linux guest will not run
  };
  std::string name;  // stable, for programs
  Status status = Status::kOk;
  std::string detail;  // what was found
  std::string advice;  // what to do; empty where there is nothing
};
const char* name_of(Check::Status status);  // "ok", "warning", "failed"

struct DoctorReport {
  std::vector<Check> checks;
  double instructions_per_second = 0;  // of the probe guest; 0 where it did not run

  bool can_run_guests() const;  // no check failed
  std::string summary() const;  // one line, without a verdict word in front
};

// Looks at everything; `kvm_path` is /dev/kvm but for tests.
DoctorReport examine(const char* kvm_path = kvm::kDevicePath);

// The parts that need no /dev/kvm to be tested.
Check judge_probe(const ProbeResult& result);
Check check_memory_lock(std::uint64_t limit_bytes, bool privileged);

}  // namespace vmm::cli
