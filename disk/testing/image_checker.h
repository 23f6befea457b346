// SPDX-License-Identifier: Apache-2.0
// A second opinion on qcow2 images: walks the tables from the bytes alone and shares no code with
// the engine, so that a misunderstanding there is not repeated here. For small images in memory.
//
// Source of every rule: QEMU's docs/interop/qcow2.txt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vmm::disk {

enum class ClusterUse : std::uint8_t {
  kFree,
  kHeader,
  kRefcountTable,
  kRefcountBlock,
  kL1Table,
  kL2Table,
  kData,
  kCompressed,
  kSnapshotTable,
};
const char* name_of(ClusterUse use);

struct ImageReport {
  // What must never be: a reference without a refcount that covers it, acluster with two owners, a
  // COPIED flag where others use the cluster too, an entry that points nowhere.
  std::vector<std::string> corruptions;
  bool dirty = false;  // marked so: whoever opens it for writing recounts the references first
  // COPIED where the refcount is too high and only one reference is left: nothing but a mark that
  // disagrees with a leak.
  std::uint64_t copied_leaks = 0;
  std::uint64_t leaks = 0;        // clusters whose refcount is higher than their references
  std::uint64_t stale_flags = 0;  // refcount 1 without COPIED: costs a copy, loses nothing
  std::vector<ClusterUse> uses;   // of each cluster of the file
  std::uint32_t cluster_bits = 0;

  // What the bytes at `offset` belong to.
  ClusterUse use_at(std::uint64_t offset) const {
    const std::uint64_t cluster = offset >> cluster_bits;
    return cluster < uses.size() ? uses[cluster] : ClusterUse::kFree;
  }
};

// Versions 2 and 3. Of an external data file only the places are checked.
ImageReport check_image(std::span<const std::byte> image);

}  // namespace vmm::disk
