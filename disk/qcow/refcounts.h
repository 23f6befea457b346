// SPDX-License-Identifier: Apache-2.0
// Refcounts: how often each host cluster is used. The refcount table is in memory, its blocks go
// through a TableCache.
//
// Counts are raised before the reference is written and lowered after its removal is durable, so at
// every moment the file's counts may only be too high: a crash leaks clusters and nothing worse.
// Therefore blocks may be written at any time, in any order. A new block reaches the disk before
// the table entry that points to it (write order: see QcowDisk::commit).
#pragma once

#include <cstdint>

#include "disk/qcow/metadata_map.h"
#include "disk/qcow/resident_table.h"
#include "disk/qcow/table_cache.h"
#include "disk/qcow/units.h"

namespace vmm::disk::qcow {

// Entry `index` of a refcount block whose entries are 1 << order bits wide.
std::uint64_t load_refcount(const std::byte* block, std::uint64_t index, std::uint32_t order);
void store_refcount(std::byte* block, std::uint64_t index, std::uint32_t order,
                    std::uint64_t value);

class Refcounts {
 public:
  Refcounts(EventLoop& loop, Storage& storage, const Geometry& geometry, MetadataMap& metadata,
            std::uint32_t slice_size, std::size_t cache_slices);

  Task<Result<void>> load(HostOffset table, std::uint32_t table_clusters);

  TableCache& cache() { return cache_; }
  ResidentTable& table() { return table_; }
  const Geometry& geometry() const { return geometry_; }

  // Clusters that have no block are free.
  Task<Result<std::uint64_t>> get(HostCluster cluster);

  // Whether a block that covers the cluster is there. Its table entry may be unusable: get() says.
  bool has_block(HostCluster cluster) const;
  // Makes the block that covers `cluster`, and puts it at `at`, a free cluster it need not cover.
  // Of what it covers, the clusters in `used` have the count 1 from the start, and all others 0.
  // The table must be long enough.
  Task<Result<void>> create_block(HostCluster cluster, HostCluster at, HostRun used);
  // Forgets a block that was just made, before anybody looked into it or the table was written.
  void forget_block(HostCluster cluster, HostCluster at);

  // How many clusters from `from` on are free or in use (`*free` says which), looking at one slice;
  // free ones are counted up to `max_free`.
  Task<Result<std::uint64_t>> measure(HostCluster from, std::uint64_t max_free, bool* free);

  // Adds 1 or -1 to each cluster. All-or-nothing within one slice; a failure later leaves counts
  // that are too high, never too low. Overflow and underflow fail: kNoSpace, kCorrupt.
  Task<Result<void>> increase(HostRun run);
  // Appends to `unused` the clusters whose count has become 0, also where it fails later.
  Task<Result<void>> decrease(HostRun run, std::vector<HostRun>& unused);

 private:
  std::uint64_t block_index(HostCluster cluster) const {
    return cluster.index / geometry_.refblock_entries();
  }
  std::uint64_t slice_entries() const {
    return std::uint64_t{cache_.slice_size()} * 8 >> geometry_.refcount_order;
  }
  Result<HostOffset> block_offset(std::uint64_t index) const;
  Task<Result<TableCache::Ref>> slice_of(HostCluster cluster);
  Task<Result<void>> change(HostRun run, bool up, std::vector<HostRun>* unused);

  Storage& storage_;
  const Geometry geometry_;
  MetadataMap& metadata_;
  ResidentTable table_;
  TableCache cache_;
};

}  // namespace vmm::disk::qcow
