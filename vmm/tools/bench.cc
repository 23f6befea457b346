// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "vmm/tools/aligned_buffer.h"

namespace vmm::tools {

namespace {

using Clock = std::chrono::steady_clock;

__extension__ using Wide = unsigned __int128;

// Where the requests go, one after the other.
class Offsets {
 public:
  // A request of buffer_size at config.offset must fit into `size`.
  Offsets(const BenchConfig& config, std::uint64_t size)
      : step_(config.step == 0 ? config.buffer_size : config.step),
        last_(size - config.buffer_size),
        start_(config.offset),
        next_(config.offset),
        nr_slots_(step_ == 0 ? 1 : (last_ - start_) / step_ + 1),
        random_(config.random_seed) {}

  std::uint64_t take() {
    if (random_) return start_ + random_slot() * step_;
    const std::uint64_t offset = next_;
    next_ += step_;
    if (next_ > last_) next_ = 0;
    return offset;
  }

 private:
  // SplitMix64, scaled to the number of slots.
  std::uint64_t random_slot() {
    std::uint64_t x = *random_ += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    x ^= x >> 31;
    return static_cast<std::uint64_t>((static_cast<Wide>(x) * nr_slots_) >> 64);
  }

  const std::uint64_t step_;
  const std::uint64_t last_;  // the largest offset at which a request fits
  const std::uint64_t start_;
  std::uint64_t next_;
  const std::uint64_t nr_slots_;
  std::optional<std::uint64_t> random_;
};

struct Run {
  disk::Disk& disk;
  const BenchConfig& config;
  BenchResult& result;
  Offsets offsets;
  std::uint64_t nr_sent = 0;
  std::uint64_t send_until = 0;  // requests; a drain happens there
  bool failed = false;
};

bool flush_due(const Run& run) {
  const BenchConfig& config = run.config;
  return config.flush_interval != 0 && !config.drain && run.nr_sent > 0 &&
         run.nr_sent % config.flush_interval == 0;
}

// One of the `depth` workers: sends its next request when the one before is done.
Task<Result<void>> work(Run& run, iovec buffer) {
  const BenchConfig& config = run.config;
  while (run.nr_sent < run.send_until && !run.failed) {
    const bool flush_first = flush_due(run);
    ++run.nr_sent;
    const std::uint64_t offset = run.offsets.take();
    const Clock::time_point start = config.latencies ? Clock::now() : Clock::time_point();
    Result<void> done;
    if (flush_first) done = co_await run.disk.flush();
    if (done) {
      if (config.write) {
        done = co_await run.disk.writev(offset, IoVec(&buffer, 1));
      } else {
        done = co_await run.disk.readv(offset, IoVec(&buffer, 1));
      }
    }
    if (!done) {
      run.failed = true;
      co_return done;
    }
    if (config.latencies) {
      run.result.latencies.add(static_cast<std::uint64_t>((Clock::now() - start).count()));
    }
  }
  co_return Result<void>();
}

// Starts the workers, and waits until they have sent up to run.send_until and all is done.
Task<Result<void>> work_together(Run& run, const AlignedBuffer& buffers) {
  std::vector<Task<Result<void>>> workers;
  workers.reserve(run.config.depth);
  for (std::uint32_t i = 0; i < run.config.depth; ++i) {
    const auto bytes = buffers.span().subspan(i * run.config.buffer_size, run.config.buffer_size);
    workers.push_back(work(run, as_iovec(bytes)));
  }
  Result<void> first_failure;
  for (Task<Result<void>>& worker : workers) {
    Result<void> done = co_await worker;
    if (!done && first_failure) first_failure = std::move(done);
  }
  co_return first_failure;
}

Result<void> check(const BenchConfig& config, std::uint64_t size) {
  if (config.offset > size || config.buffer_size > size - config.offset) {
    return fail(ErrorKind::kOutOfRange,
                fmt::format("a request of {} bytes at {} does not fit into the image's {} bytes",
                            config.buffer_size, config.offset, size));
  }
  return {};
}

}  // namespace

Task<Result<std::unique_ptr<BenchResult>>> run_bench(disk::Disk& disk, BenchConfig config) {
  VMM_CO_CHECK(check(config, disk.size()));
  const AlignedBuffer buffers(config.buffer_size * config.depth);
  if (!buffers) {
    co_return fail(ErrorKind::kInvalid, fmt::format("no memory for {} buffers of {} bytes",
                                                    config.depth, config.buffer_size));
  }
  buffers.fill(static_cast<std::byte>(config.write ? config.pattern : 0));

  auto result = std::make_unique<BenchResult>();
  Run run{
      .disk = disk, .config = config, .result = *result, .offsets = Offsets(config, disk.size())};
  const Clock::time_point start = Clock::now();
  while (run.nr_sent < config.nr_requests) {
    const bool draining = config.drain && config.flush_interval != 0;
    const std::uint64_t left = config.nr_requests - run.nr_sent;
    run.send_until = run.nr_sent + (draining ? std::min(config.flush_interval, left) : left);
    VMM_CO_CHECK(co_await work_together(run, buffers));
    if (draining) {
      VMM_CO_CHECK(co_await disk.flush());
    }
  }
  result->seconds = std::chrono::duration<double>(Clock::now() - start).count();
  co_return result;
}

}  // namespace vmm::tools
