// SPDX-License-Identifier: Apache-2.0
// What a disk counted, as one line for people.
#pragma once

#include <string>
#include <vector>

#include "disk/disk.h"

namespace vmm::disk {

// One cache of metadata, and what it counted.
struct CacheStatistics {
  const char* name = "";         // "l2", "refcount"
  std::uint64_t size_bytes = 0;  // what it may hold; 0: not known
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
  std::uint64_t write_backs = 0;  // slices written
};

// None for formats that have none. On the disk's thread, at any time before its destructor.
std::vector<CacheStatistics> cache_statistics(Disk& disk);

// "L2 cache 2 MiB in 4 KiB slices: 10 hits, ..."; empty for formats that count nothing. On the
// disk's thread; before its destructor, after close() too.
std::string describe_statistics(Disk& disk);

}  // namespace vmm::disk
