// SPDX-License-Identifier: Apache-2.0
// Allocator: finds free host clusters, in runs, and makes the refcount structures grow with the
// file.
//
// Clusters that were freed since the image was opened come first, then what a cursor finds that
// walks the refcounts once from the start of the file. A cluster whose contents are known to be
// zeros (it was never written, or a hole was punched) is said to be so: its rest need not be
// written.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "disk/qcow/refcounts.h"
#include "disk/qcow/units.h"

namespace vmm::disk::qcow {

class Allocator {
 public:
  struct Allocation {
    HostRun run;
    bool zero = false;  // reads as zeros
  };

  Allocator(EventLoop& loop, Refcounts& refcounts, MetadataMap& metadata);

  // To be called once, when the refcount table is there.
  void init(std::uint64_t file_size);

  // Between `min` and `max` clusters in a row, with refcount 1. Fails with kNoSpace at the limits
  // of the format, kCorrupt where the refcounts call the image's own tables free.
  Task<Result<Allocation>> allocate(std::uint64_t min, std::uint64_t max);

  // Takes one reference away from each cluster. Those nobody uses any more may be handed out again
  // at once: so the removal of the reference must be durable, and a hole punched (`zero`) too.
  Task<Result<void>> release(HostRun run, bool zero);

  // While it is held, nothing is allocated, and the refcount table stays where it is.
  auto lock() { return mutex_.lock(); }

  // The end of what was ever handed out, in clusters.
  std::uint64_t end() const { return end_; }

  // Where the refcount table was before it moved: to be released once the header is durable.
  bool table_moved() const { return !old_tables_.empty(); }
  std::vector<HostRun> take_old_tables() { return std::exchange(old_tables_, {}); }
  void put_back_old_tables(const std::vector<HostRun>& tables) {
    old_tables_.insert(old_tables_.end(), tables.begin(), tables.end());
  }

 private:
  struct FreeRun {
    std::uint64_t count;
    bool zero;
  };

  std::optional<Allocation> take_freed(std::uint64_t min, std::uint64_t max);
  void insert_freed(HostRun run, bool zero);
  Task<Result<HostRun>> search(std::uint64_t min, std::uint64_t max);
  Task<Result<void>> claim(HostRun run);
  Task<Result<HostRun>> append(std::uint64_t count);
  Task<Result<void>> grow_table(std::uint64_t for_block);
  std::uint64_t blocks_to_append(std::uint64_t count) const;
  std::uint64_t first_region_without_blocks() const;

  Refcounts& refcounts_;
  MetadataMap& metadata_;
  const Geometry geometry_;
  AsyncMutex mutex_;
  std::map<std::uint64_t, FreeRun> freed_;  // by first cluster
  HostCluster cursor_;                      // what lies before it was looked at
  std::uint64_t end_ = 0;
  std::vector<HostRun> old_tables_;
};

}  // namespace vmm::disk::qcow
