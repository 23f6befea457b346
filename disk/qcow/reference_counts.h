// SPDX-License-Identifier: Apache-2.0
// ReferenceCounts: how often each cluster of a file is referred to, as counted by a check. Memory
// follows what is referred to, not what offsets an image claims.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "disk/qcow/units.h"

namespace vmm::disk::qcow {

class ReferenceCounts {
 public:
  static constexpr std::uint64_t kPage = 4096;  // clusters

  void add(HostCluster cluster) { ++at(cluster.index); }
  std::uint32_t get(HostCluster cluster) const {
    auto page = pages_.find(cluster.index / kPage);
    return page == pages_.end() ? 0 : (*page->second)[cluster.index % kPage];
  }
  // The end of what is referred to, in clusters.
  std::uint64_t end() const {
    if (pages_.empty()) return 0;
    const auto& [number, page] = *pages_.rbegin();
    for (std::uint64_t i = kPage; i > 0; --i) {
      if ((*page)[i - 1] != 0) return number * kPage + i;
    }
    return number * kPage;
  }
  // Calls visit(cluster, count) for each that is referred to, in order.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [number, page] : pages_) {
      for (std::uint64_t i = 0; i < kPage; ++i) {
        if ((*page)[i] != 0) visit(HostCluster(number * kPage + i), (*page)[i]);
      }
    }
  }

 private:
  using Page = std::array<std::uint32_t, kPage>;
  std::uint32_t& at(std::uint64_t cluster) {
    std::unique_ptr<Page>& page = pages_[cluster / kPage];
    if (!page) page = std::make_unique<Page>();
    return (*page)[cluster % kPage];
  }

  std::map<std::uint64_t, std::unique_ptr<Page>> pages_;
};

}  // namespace vmm::disk::qcow
