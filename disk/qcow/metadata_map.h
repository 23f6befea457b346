// SPDX-License-Identifier: Apache-2.0
// MetadataMap: the host clusters that hold the image's own tables. Guest data must never be written
// there, whatever an image's entries say, and the allocator never hands them out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "disk/qcow/units.h"

namespace vmm::disk::qcow {

enum class MetadataKind : std::uint8_t {
  kHeader,
  kL1Table,
  kL2Table,
  kRefcountTable,
  kRefcountBlock,
  kSnapshotTable,
  kInactiveL1Table,
};
const char* name_of(MetadataKind kind);

class MetadataMap {
 public:
  struct Entry {
    std::uint64_t cluster;
    MetadataKind kind;
  };

  // Two steps for the many at open: collect with stage(), then seal() once.
  void stage(HostRun run, MetadataKind kind) {
    for (std::uint64_t i = 0; i < run.count; ++i) base_.push_back({run.first.index + i, kind});
  }
  void seal() {
    std::sort(base_.begin(), base_.end(),
              [](const Entry& a, const Entry& b) { return a.cluster < b.cluster; });
  }
  void clear() {
    base_.clear();
    added_.clear();
  }

  void add(HostRun run, MetadataKind kind) {
    for (std::uint64_t i = 0; i < run.count; ++i) added_[run.first.index + i] = kind;
  }
  void remove(HostRun run) {
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const std::uint64_t cluster = run.first.index + i;
      added_.erase(cluster);
      auto at = lower_bound(cluster);
      while (at != base_.end() && at->cluster == cluster) at = base_.erase(at);
    }
  }

  // The first cluster of the run that holds metadata, or nothing. Not for hot reads; writes ask.
  const MetadataKind* find(HostRun run) const {
    auto at = const_cast<MetadataMap*>(this)->lower_bound(run.first.index);
    if (at != base_.end() && at->cluster < run.end().index) return &at->kind;
    auto added = added_.lower_bound(run.first.index);
    if (added != added_.end() && added->first < run.end().index) return &added->second;
    return nullptr;
  }

 private:
  std::vector<Entry>::iterator lower_bound(std::uint64_t cluster) {
    return std::lower_bound(base_.begin(), base_.end(), cluster,
                            [](const Entry& e, std::uint64_t c) { return e.cluster < c; });
  }

  std::vector<Entry> base_;  // sorted; what was there at open: a few bytes each, there may be many
  std::map<std::uint64_t, MetadataKind> added_;  // since then
};

}  // namespace vmm::disk::qcow
