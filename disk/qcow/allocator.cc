// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/allocator.h"

#include <fmt/format.h>

#include <algorithm>

#include "disk/qcow/header.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::size_t kMaxFreedRuns = 65536;  // more are forgotten here, and found by the cursor
constexpr int kFreedRunsTried = 64;

}  // namespace

Allocator::Allocator(EventLoop& loop, Refcounts& refcounts, MetadataMap& metadata)
    : refcounts_(refcounts), metadata_(metadata), geometry_(refcounts.geometry()), mutex_(loop) {
}

void Allocator::init(std::uint64_t file_size) {
  end_ = geometry_.clusters_for(file_size);
  cursor_ = HostCluster(0);
}

Task<Result<Allocator::Allocation>> Allocator::allocate(std::uint64_t min, std::uint64_t max) {
  AsyncMutex::Lock lock = co_await mutex_.lock();
  if (std::optional<Allocation> freed = take_freed(min, max)) {
    Result<void> claimed = co_await claim(freed->run);
    if (!claimed) co_return Unexpected(std::move(claimed).error());
    co_return *freed;
  }
  if (min > geometry_.refblock_entries() / 2) {
    const std::uint64_t before = end_;
    VMM_CO_TRY(HostRun run, co_await append(min));
    co_return Allocation{run, run.first.index >= before};
  }
  const std::uint64_t before = end_;
  VMM_CO_TRY(HostRun run, co_await search(min, max));
  VMM_CO_CHECK(co_await claim(run));
  if (min <= 1) cursor_ = run.end();
  co_return Allocation{run, run.first.index >= before};
}

std::optional<Allocator::Allocation> Allocator::take_freed(std::uint64_t min, std::uint64_t max) {
  int tried = 0;
  for (auto at = freed_.begin(); at != freed_.end() && tried < kFreedRunsTried; ++at, ++tried) {
    auto [first, freed] = *at;
    if (freed.count < min) continue;
    const std::uint64_t count = std::min(freed.count, max);
    freed_.erase(at);
    if (count < freed.count) freed_[first + count] = {freed.count - count, freed.zero};
    return Allocation{{HostCluster(first), count}, freed.zero};
  }
  return std::nullopt;
}

void Allocator::insert_freed(HostRun run, bool zero) {
  if (freed_.size() >= kMaxFreedRuns) {
    freed_.clear();
    cursor_ = HostCluster(0);
  }
  auto next = freed_.lower_bound(run.first.index);
  std::uint64_t first = run.first.index;
  std::uint64_t count = run.count;
  if (next != freed_.end() && next->first == run.end().index && next->second.zero == zero) {
    count += next->second.count;
    next = freed_.erase(next);
  }
  if (next != freed_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second.count == first && previous->second.zero == zero) {
      previous->second.count += count;
      return;
    }
  }
  freed_[first] = {count, zero};
}

Task<Result<void>> Allocator::claim(HostRun run) {
  if (const MetadataKind* kind = metadata_.find(run)) {
    co_return fail(
        ErrorKind::kCorrupt,
        fmt::format("the refcounts call clusters from {:#x} on free, but the {} is there",
                    geometry_.start_of(run.first).value, name_of(*kind)));
  }
  Result<void> raised = co_await refcounts_.increase(run);
  if (raised) end_ = std::max(end_, run.end().index);
  co_return raised;
}

Task<Result<HostRun>> Allocator::search(std::uint64_t min, std::uint64_t max) {
  HostRun run{cursor_, 0};
  while (run.count < max) {
    const HostCluster at = run.end();
    if (!refcounts_.has_block(at)) {
      if (run.count >= min) break;
      const std::uint64_t block = at.index / geometry_.refblock_entries();
      if (block >= refcounts_.table().size()) {
        VMM_CO_CHECK(co_await grow_table(block));
        continue;
      }
      // Its own first user: what no block covers is free.
      if (const MetadataKind* kind = metadata_.find({at, 1})) {
        co_return fail(ErrorKind::kCorrupt,
                       fmt::format("the {} at {:#x} has no refcount", name_of(*kind),
                                   geometry_.start_of(at).value));
      }
      end_ = std::max(end_, at.index + 1);  // written to, even where that fails
      VMM_CO_CHECK(co_await refcounts_.create_block(at, at, {at, 1}));
      run = {at + 1, 0};
      continue;
    }
    bool free = false;
    VMM_CO_TRY(std::uint64_t count, co_await refcounts_.measure(at, max - run.count, &free));
    if (free) {
      run.count += count;
    } else if (run.count >= min) {
      break;
    } else {
      run = {at + count, 0};
      if (min <= 1) cursor_ = run.first;
    }
  }
  // Freed clusters ahead of the cursor are about to be taken: they are no longer for take_freed().
  auto overlap = freed_.lower_bound(run.first.index);
  if (overlap != freed_.begin()) --overlap;
  while (overlap != freed_.end() && overlap->first < run.end().index) {
    const std::uint64_t first = overlap->first;
    const FreeRun freed = overlap->second;
    if (first + freed.count <= run.first.index) {
      ++overlap;
      continue;
    }
    overlap = freed_.erase(overlap);
    if (first < run.first.index) freed_[first] = {run.first.index - first, freed.zero};
    if (first + freed.count > run.end().index) {
      freed_[run.end().index] = {first + freed.count - run.end().index, freed.zero};
    }
  }
  co_return run;
}

Task<Result<void>> Allocator::release(HostRun run, bool zero) {
  AsyncMutex::Lock lock = co_await mutex_.lock();
  // What is free now is free, also where the rest of the run could not be released.
  std::vector<HostRun> unused;
  Result<void> released = co_await refcounts_.decrease(run, unused);
  for (const HostRun& freed : unused) {
    metadata_.remove(freed);
    insert_freed(freed, zero);
  }
  co_return released;
}

std::uint64_t Allocator::first_region_without_blocks() const {
  const std::vector<std::uint64_t>& table = refcounts_.table().entries();
  std::uint64_t region = table.size();
  while (region > 0 && table[region - 1] == 0) --region;
  return region;
}

// Blocks for `count` clusters and for the blocks themselves, from the start of a region.
std::uint64_t Allocator::blocks_to_append(std::uint64_t count) const {
  const std::uint64_t per_block = geometry_.refblock_entries() - 1;
  return (count + per_block - 1) / per_block;
}

// A run at the end of everything, preceded by the new blocks that cover it and themselves.
Task<Result<HostRun>> Allocator::append(std::uint64_t count) {
  const std::uint64_t nr_blocks = blocks_to_append(count);
  if (first_region_without_blocks() + nr_blocks > refcounts_.table().size()) {
    VMM_CO_CHECK(co_await grow_table(first_region_without_blocks() + nr_blocks - 1));
  }
  const std::uint64_t region = first_region_without_blocks();
  const HostCluster start(region * geometry_.refblock_entries());
  const HostRun all{start, nr_blocks + count};
  if (const MetadataKind* kind = metadata_.find(all)) {
    co_return fail(ErrorKind::kCorrupt, fmt::format("the {} has no refcount", name_of(*kind)));
  }
  end_ = std::max(end_, all.end().index);  // written to, even where that fails
  for (std::uint64_t i = 0; i < nr_blocks; ++i) {
    Result<void> made =
        co_await refcounts_.create_block(start + i * geometry_.refblock_entries(), start + i, all);
    if (made) continue;
    while (i-- > 0) {
      refcounts_.forget_block(start + i * geometry_.refblock_entries(), start + i);
    }
    co_return Unexpected(std::move(made).error());
  }
  co_return HostRun{start + nr_blocks, count};
}

// Makes the refcount table long enough for block `for_block`, at a new place. In memory the new
// size counts at once; the file follows with the next flush.
Task<Result<void>> Allocator::grow_table(std::uint64_t for_block) {
  ResidentTable& table = refcounts_.table();
  const std::uint64_t per_cluster = geometry_.cluster_size() / 8;
  const std::uint64_t region = first_region_without_blocks();
  std::uint64_t clusters = table.size() / per_cluster;
  std::uint64_t needed = std::max(for_block + 1, table.size() + table.size() / 2);
  do {
    clusters = std::max(clusters + 1, (needed + per_cluster - 1) / per_cluster);
    // The table itself, its blocks, and then still room for what asked for it.
    needed = std::max(needed, region + blocks_to_append(clusters) + (for_block + 1 - region));
  } while (clusters * per_cluster < needed);
  if (clusters * geometry_.cluster_size() > kMaxRefcountTableBytes) {
    co_return fail(ErrorKind::kNoSpace,
                   "the image file has reached the size its cluster size allows: convert it to one "
                   "with larger clusters");
  }
  const HostRun old{geometry_.cluster_of(table.offset()), table.size() / per_cluster};
  table.resize(clusters * per_cluster);
  Result<HostRun> place = co_await append(clusters);
  if (!place) {
    table.resize(old.count * per_cluster);  // the file has no room for more there
    co_return Unexpected(std::move(place).error());
  }
  metadata_.add(*place, MetadataKind::kRefcountTable);
  table.move_to(geometry_.start_of(place->first));
  old_tables_.push_back(old);
  co_return Result<void>();
}

}  // namespace vmm::disk::qcow
