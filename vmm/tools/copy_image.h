// SPDX-License-Identifier: Apache-2.0
// Copying what a guest sees from one disk to another, without what is known to be zeros.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "disk/disk.h"
#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/task.h"
#include "vmm/tools/opened_image.h"
#include "vmm/tools/progress.h"

namespace vmm::tools {

struct CopyConfig {
  unsigned nr_workers = 8;           // requests under way at once, at least 1
  bool in_order = true;              // writes are started in the order of their offsets
  bool compressed = false;           // into a qcow2 image
  std::uint64_t sparse_size = 4096;  // bytes of zeros that are worth a hole; 0: none is
  // From this offset on, what is not written reads as zeros in the target already.
  std::uint64_t target_zero_from = 0;
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  bool skip_backing = false;  // leave out what the sources have from their backing files
  bool skip_absent = false;   // and what no layer of theirs decides
  std::uint64_t max_bytes_per_second = 0;  // 0: no limit
  // Where it is there, what cannot be read becomes zeros, sector by sector, and this is told.
  std::function<void(std::uint64_t offset, const Error& error)> on_unreadable;
};

// The sources follow each other in the target, which is large enough.
Task<Result<void>> copy_image(EventLoop& loop, const std::vector<disk::Disk*>& sources,
                              OpenedImage& target, const CopyConfig& config, Progress& progress);

}  // namespace vmm::tools
