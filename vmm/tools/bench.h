// SPDX-License-Identifier: Apache-2.0
// Bench: sends one kind of request to a disk as fast as it takes them, and measures.
//
// The instrument must cost little beside what it measures: in the steady state a request allocates
// nothing here, and reads the clock only where latencies are asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "disk/disk.h"
#include "vmm/core/result.h"
#include "vmm/tools/histogram.h"

namespace vmm::tools {

struct BenchConfig {
  std::uint64_t nr_requests = 75000;
  std::uint32_t depth = 64;          // requests in flight, at least 1
  std::uint64_t buffer_size = 4096;  // bytes of a request
  std::uint64_t step = 0;            // bytes from one request to the next; 0: buffer_size
  std::uint64_t offset = 0;          // bytes, of the first request
  bool write = false;
  int pattern = 0;                           // the byte that writes write
  std::uint64_t flush_interval = 0;          // requests between flushes; 0: none
  bool drain = true;                         // before a flush, wait for what is in flight
  std::optional<std::uint64_t> random_seed;  // offsets are random multiples of the step
  bool latencies = false;
};

struct BenchResult {
  double seconds = 0;
  Histogram latencies;  // ns; empty unless asked for
};

// Offsets start again at 0 where the next request would not fit before the end. The first request
// must fit.
Task<Result<std::unique_ptr<BenchResult>>> run_bench(disk::Disk& disk, BenchConfig config);

}  // namespace vmm::tools
