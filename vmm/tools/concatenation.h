// SPDX-License-Identifier: Apache-2.0
// Concatenation: disks one behind the other, read as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "disk/disk.h"
#include "vmm/core/result.h"
#include "vmm/io/task.h"
#include "vmm/tools/block_status.h"

namespace vmm::tools {

class Concatenation {
 public:
  // The disks must outlive this.
  explicit Concatenation(const std::vector<disk::Disk*>& disks);

  std::uint64_t size() const { return size_; }  // bytes

  // As merged_block_status(), but `start` counts in the whole. `offset` < size(). No run goes on
  // into the next disk.
  Task<Result<BlockStatus>> block_status(std::uint64_t offset) const;

  // `offset` + bytes.size() <= size(). The bytes may come from several disks.
  Task<Result<void>> read(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  struct Part {
    disk::Disk* disk;
    std::uint64_t start;
  };
  std::size_t part_at(std::uint64_t offset) const;  // index; empty disks have no byte

  std::vector<Part> parts_;
  std::uint64_t size_ = 0;
};

}  // namespace vmm::tools
