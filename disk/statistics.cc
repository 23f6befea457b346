// SPDX-License-Identifier: Apache-2.0
#include "disk/statistics.h"

#include <fmt/core.h>

#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "disk/writethrough_disk.h"

namespace vmm::disk {
namespace {

std::string describe(const qcow::CacheStats& stats) {
  return fmt::format("{} hits, {} misses, {} evictions, {} written back", stats.hits, stats.misses,
                     stats.evictions, stats.write_backs);
}

CacheStatistics to_statistics(const char* name, const qcow::CacheStats& stats,
                              std::uint64_t size_bytes) {
  return {name, size_bytes, stats.hits, stats.misses, stats.evictions, stats.write_backs};
}

}  // namespace

std::vector<CacheStatistics> cache_statistics(Disk& disk) {
  if (auto* wrapper = dynamic_cast<WritethroughDisk*>(&disk)) {
    return cache_statistics(wrapper->inner());
  }
  if (const auto* qcow1 = dynamic_cast<qcow1::Qcow1Disk*>(&disk)) {
    return {to_statistics("l2", qcow1->cache_stats(), 0)};
  }
  const auto* qcow = dynamic_cast<qcow::QcowDisk*>(&disk);
  if (qcow == nullptr) return {};
  const qcow::Statistics statistics = qcow->statistics();
  return {to_statistics("l2", statistics.l2, statistics.l2_cache_bytes),
          to_statistics("refcount", statistics.refcounts, 0)};
}

std::string describe_statistics(Disk& disk) {
  if (auto* wrapper = dynamic_cast<WritethroughDisk*>(&disk)) {
    return describe_statistics(wrapper->inner());
  }
  if (const auto* qcow1 = dynamic_cast<qcow1::Qcow1Disk*>(&disk)) {
    return "L2 cache: " + describe(qcow1->cache_stats());
  }
  const auto* qcow = dynamic_cast<qcow::QcowDisk*>(&disk);
  if (qcow == nullptr) return "";
  const qcow::Statistics statistics = qcow->statistics();
  return fmt::format("L2 cache of {} KiB in slices of {} KiB: {}; refcount cache: {}",
                     statistics.l2_cache_bytes >> 10,
                     static_cast<double>(statistics.l2_slice_bytes) / 1024, describe(statistics.l2),
                     describe(statistics.refcounts));
}

}  // namespace vmm::disk
