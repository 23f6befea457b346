// SPDX-License-Identifier: Apache-2.0
// cache-bench hit: what a hit in the L2 cache costs, in ns, and how often it allocates. One line of
// JSON. Not a test: scripts/bench runs it.
#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "disk/qcow/table_cache.h"

namespace {

std::uint64_t nr_allocations = 0;

}  // namespace

// Every `new` of this program, counted.
void* operator new(std::size_t size) {
  ++nr_allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace vmm::disk::qcow {
namespace {

constexpr std::uint32_t kSlice = 4096;
constexpr std::size_t kSlices = 2048;  // the L2 tables of 64 GiB in clusters of 64 KiB
constexpr std::size_t kLookUps = 1 << 16;

// Reads as zeros, at once.
class EmptyStorage : public Storage {
 public:
  std::uint64_t size() const override { return kSlices * kSlice; }
  bool read_only() const override { return true; }
  std::uint32_t alignment() const override { return 1; }
  bool fresh_is_zero() const override { return true; }
  Task<Result<void>> readv(std::uint64_t, IoVec iov) override {
    fill(iov, 0, total_size(iov), std::byte{0});
    co_return Result<void>();
  }
  Task<Result<void>> writev(std::uint64_t, IoVec) override { co_return Result<void>(); }
  Task<Result<void>> write_zeroes(std::uint64_t, std::uint64_t) override {
    co_return Result<void>();
  }
  Task<Result<bool>> punch(std::uint64_t, std::uint64_t) override { co_return true; }
  Task<Result<void>> sync() override { co_return Result<void>(); }
  Task<Result<void>> truncate(std::uint64_t) override { co_return Result<void>(); }
  Task<Result<void>> allocate(std::uint64_t, std::uint64_t) override { co_return Result<void>(); }
  Result<Extent> extent_at(std::uint64_t) override { return Extent{size(), true}; }
  std::uint64_t allocated_size() const override { return size(); }
};

struct Cost {
  double ns = 0;
  std::uint64_t allocations = 0;
};

// Of this thread: what other processes do does not count.
double cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
}

// The look-up as QcowDisk makes it for each request: find, read an entry, let go. The cheapest of
// some rounds, as other work on the machine can only make it dearer.
Cost look_up(TableCache& cache, const std::vector<std::uint32_t>& slices) {
  std::uint64_t sum = 0;
  Cost cost{1e9, 0};
  const std::uint64_t before = nr_allocations;
  for (int round = 0; round < 20; ++round) {
    const double start = cpu_ns();
    for (std::uint32_t slice : slices) {
      TableCache::Ref hit = cache.find(HostOffset(std::uint64_t{slice} * kSlice));
      if (!hit) std::abort();
      std::uint64_t entry = 0;
      std::memcpy(&entry, hit.data() + (slice & 0x1ff) * 8, sizeof entry);
      sum += entry;
    }
    cost.ns = std::min(cost.ns, (cpu_ns() - start) / static_cast<double>(slices.size()));
  }
  cost.allocations = nr_allocations - before;
  if (sum != 0) std::abort();
  return cost;
}

int run() {
  std::unique_ptr<EventLoop> loop = *EventLoop::create(EventLoop::Backend::kThreadPool);
  EmptyStorage storage;
  TableCache cache(*loop, storage, "L2 table", kSlice, kSlices, nullptr);
  for (std::size_t i = 0; i < kSlices; ++i) {
    if (!loop->run_until(cache.get(HostOffset(i * kSlice)))) return 1;
  }
  std::mt19937 random(1);
  std::vector<std::uint32_t> everywhere(kLookUps);
  for (std::uint32_t& slice : everywhere) slice = random() % kSlices;
  const std::vector<std::uint32_t> same(kLookUps, 7);
  look_up(cache, everywhere);  // the processor's caches and predictors settle
  const Cost scattered = look_up(cache, everywhere);
  const Cost repeated = look_up(cache, same);
  fmt::print(
      R"({{"slices": {}, "random-slice-ns": {:.1f}, "same-slice-ns": {:.1f}, "allocations": {}}})"
      "\n",
      kSlices, scattered.ns, repeated.ns, scattered.allocations + repeated.allocations);
  return 0;
}

}  // namespace
}  // namespace vmm::disk::qcow

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "hit") == 0) return vmm::disk::qcow::run();
  fmt::print(stderr, "usage: cache-bench hit\n");
  return 2;
}
