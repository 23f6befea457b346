// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/block_status.h"

#include <algorithm>

#include "disk/qcow/qcow_disk.h"
#include "disk/raw_disk.h"

namespace vmm::tools {

namespace {

Task<Result<BlockStatus>> qcow2_status(disk::qcow::QcowDisk& disk, std::uint64_t offset,
                                       std::uint64_t limit) {
  VMM_CO_TRY(const disk::qcow::Extent extent, co_await disk.extent_at(offset));
  BlockStatus status{.start = offset, .layer = &disk};
  status.length = std::min(extent.start + extent.length, limit) - offset;
  disk::Disk* backing = disk.backing();
  // A subcluster without data may have its place already.
  if (extent.allocated || backing == nullptr) {
    status.has_offset = extent.has_offset;
    status.offset = extent.offset + (offset - extent.start);
  }
  if (extent.allocated) {
    status.present = true;
    status.zero = extent.zero;
    status.data = extent.data;
    status.compressed = extent.compressed;
    co_return status;
  }
  if (backing == nullptr || offset >= backing->size()) {
    status.zero = true;
    co_return status;
  }
  const std::uint64_t below = std::min(offset + status.length, backing->size());
  Result<BlockStatus> deeper = co_await block_status(*backing, offset, below);
  if (deeper) ++deeper->depth;
  co_return deeper;
}

bool alike(const BlockStatus& a, const BlockStatus& b) {
  return a.depth == b.depth && a.present == b.present && a.zero == b.zero && a.data == b.data &&
         a.compressed == b.compressed && a.has_offset == b.has_offset && a.layer == b.layer &&
         (!a.has_offset || a.offset + a.length == b.offset);
}

}  // namespace

Task<Result<BlockStatus>> block_status(disk::Disk& disk, std::uint64_t offset,
                                       std::uint64_t limit) {
  if (auto* qcow = dynamic_cast<disk::qcow::QcowDisk*>(&disk)) {
    co_return co_await qcow2_status(*qcow, offset, limit);
  }
  BlockStatus status{.start = offset,
                     .length = limit - offset,
                     .present = true,
                     .data = true,
                     .has_offset = true,
                     .offset = offset,
                     .layer = &disk};
  if (auto* raw = dynamic_cast<disk::RawDisk*>(&disk)) {
    disk::Storage& storage = raw->storage();
    if (offset >= storage.size()) co_return status;
    VMM_CO_TRY(const disk::Storage::Extent extent, storage.extent_at(offset));
    status.length = std::min(extent.end, limit) - offset;
    status.data = extent.data;
    status.zero = !extent.data;
  }
  co_return status;
}

Task<Result<BlockStatus>> merged_block_status(disk::Disk& disk, std::uint64_t offset,
                                              std::uint64_t limit) {
  VMM_CO_TRY(BlockStatus run, co_await block_status(disk, offset, limit));
  while (run.end() < limit) {
    VMM_CO_TRY(const BlockStatus next, co_await block_status(disk, run.end(), limit));
    if (!alike(run, next)) break;
    run.length += next.length;
  }
  co_return run;
}

}  // namespace vmm::tools
