// SPDX-License-Identifier: Apache-2.0
// Fault runs: a workload, again and again, each time with another operation of the storage failing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "disk/testing/image_checker.h"
#include "disk/testing/workload.h"

namespace vmm::disk {

// Which operation fails, and how.
struct FaultCase {
  Fault::Kind kind = Fault::Kind::kIoError;
  // One operation, by its place in the recording ...
  std::uint64_t index = 0;
  // ... or with `from_then_on` all changes and syncs from that place to the end of the workload ...
  bool from_then_on = false;
  // ... or, where this is set, those of them that go to clusters of one use.
  std::optional<ClusterUse> use;
};

struct FaultOptions {
  std::uint64_t every = 1;  // only every so many operations
  std::string command = "disk-reliability";
};

struct FaultResult {
  std::uint64_t runs = 0;
  std::uint64_t faults = 0;  // operations that failed
  std::uint64_t failed_requests = 0;
  std::uint64_t crashes = 0;                    // crash states judged behind a fault
  std::map<std::string, std::uint64_t> by_use;  // faults that hit the header, an L2 table, ...
  std::string failure;  // the first; empty: none. With the command that replays it.
};

// Every operation of the run, each kind of fault that fits it, once; and from some on.
FaultResult enumerate_faults(EventLoop& loop, const Workload& workload,
                             const FaultOptions& options);
// One of them again. Empty: nothing is wrong.
std::string run_fault(EventLoop& loop, const WorkloadRun& dry, const FaultCase& fault,
                      FaultResult& result);

}  // namespace vmm::disk
