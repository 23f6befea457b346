// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/concatenation.h"

#include <algorithm>

#include "vmm/io/iovec.h"

namespace vmm::tools {

Concatenation::Concatenation(const std::vector<disk::Disk*>& disks) {
  for (disk::Disk* disk : disks) {
    parts_.push_back({disk, size_});
    size_ += disk->size();
  }
}

std::size_t Concatenation::part_at(std::uint64_t offset) const {
  const auto behind = std::upper_bound(
      parts_.begin(), parts_.end(), offset,
      [](std::uint64_t at, const Part& part) { return at < part.start + part.disk->size(); });
  return static_cast<std::size_t>(behind - parts_.begin());
}

Task<Result<BlockStatus>> Concatenation::block_status(std::uint64_t offset) const {
  const Part part = parts_[part_at(offset)];
  VMM_CO_TRY(BlockStatus status,
             co_await merged_block_status(*part.disk, offset - part.start, part.disk->size()));
  status.start += part.start;
  co_return status;
}

Task<Result<void>> Concatenation::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const Part part = parts_[part_at(offset)];
    const std::uint64_t at = offset - part.start;
    const auto here = bytes.first(std::min<std::uint64_t>(bytes.size(), part.disk->size() - at));
    const iovec iov = as_iovec(here);
    VMM_CO_CHECK(co_await part.disk->readv(at, IoVec(&iov, 1)));
    offset += here.size();
    bytes = bytes.subspan(here.size());
  }
  co_return Result<void>();
}

}  // namespace vmm::tools
