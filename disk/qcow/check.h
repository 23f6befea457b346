// SPDX-License-Identifier: Apache-2.0
// Checking a qcow2 image: counts every reference and compares with the refcounts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "disk/qcow/header.h"
#include "disk/storage.h"
#include "vmm/io/event_loop.h"

namespace vmm::disk::qcow {

enum class Repair {
  kNone,
  kLeaks,  // refcounts that are too high: nothing that is read changes
  kAll,    // and those that are too low, and the flags that follow from them
};

// The counts have the meaning of `qemu-img check`'s fields of these names.
struct CheckReport {
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t image_end_offset = 0;  // bytes
  std::uint64_t total_clusters = 0;    // of the virtual size
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::vector<std::string> messages;  // what was found, the first thousand
};

// `storage` is writable where something is to be repaired; nobody else uses it meanwhile. After a
// repair the counts are those of a second look, the fixed ones those of the first. Fails where the
// image cannot be checked at all.
Task<Result<CheckReport>> check_image(EventLoop& loop, Storage& storage, const Header& header,
                                      Repair repair);

}  // namespace vmm::disk::qcow
