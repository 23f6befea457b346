// SPDX-License-Identifier: Apache-2.0
// What is stored at an offset of a disk, looking through its chain of backing files.
#pragma once

#include <cstdint>

#include "disk/disk.h"
#include "vmm/core/result.h"
#include "vmm/io/task.h"

namespace vmm::tools {

// A run of bytes that are stored in one way. The names are those of `map --output json`.
struct BlockStatus {
  std::uint64_t start = 0;   // bytes, as the guest counts
  std::uint64_t length = 0;  // bytes
  unsigned depth = 0;        // layers below the disk that was asked; 0: itself
  bool present = false;      // some layer decides what is there
  bool zero = false;         // reads as zeros
  bool data = false;         // is stored
  bool compressed = false;
  bool has_offset = false;
  std::uint64_t offset = 0;           // bytes, in the file that holds the data
  const disk::Disk* layer = nullptr;  // the one at `depth`

  std::uint64_t end() const { return start + length; }
};

// `offset` < `limit` <= disk.size(). The run ends at `limit` at most; the next one may be alike.
Task<Result<BlockStatus>> block_status(disk::Disk& disk, std::uint64_t offset, std::uint64_t limit);

// The same, extended as long as the status stays the same.
Task<Result<BlockStatus>> merged_block_status(disk::Disk& disk, std::uint64_t offset,
                                              std::uint64_t limit);

}  // namespace vmm::tools
