// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/block_status.h"

#include <algorithm>

#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "disk/raw_disk.h"

namespace vmm::tools {

namespace {

// What the layers under `disk` have where it has nothing itself, as `status` says.
Task<Result<BlockStatus>> below(disk::Disk* backing, BlockStatus status) {
  if (backing == nullptr || status.start >= backing->size()) {
    status.zero = true;
    co_return status;
  }
  const std::uint64_t end = std::min(status.end(), backing->size());
  Result<BlockStatus> deeper = co_await block_status(*backing, status.start, end);
  if (deeper) ++deeper->depth;
  co_return deeper;
}

Task<Result<BlockStatus>> qcow2_status(disk::qcow::QcowDisk& disk, std::uint64_t offset,
                                       std::uint64_t limit) {
  VMM_CO_TRY(const disk::qcow::Extent extent, co_await disk.extent_at(offset));
  BlockStatus status{.start = offset, .layer = &disk};
  status.length = std::min(extent.start + extent.length, limit) - offset;
  // A subcluster without data may have its place already.
  status.has_offset = extent.has_offset;
  status.offset = extent.offset + (offset - extent.start);
  if (!extent.allocated) co_return co_await below(disk.backing(), status);
  status.present = true;
  status.zero = extent.zero;
  status.data = extent.data;
  status.compressed = extent.compressed;
  co_return status;
}

Task<Result<BlockStatus>> qcow1_status(disk::qcow1::Qcow1Disk& disk, std::uint64_t offset,
                                       std::uint64_t limit) {
  VMM_CO_TRY(const disk::qcow1::Extent extent, co_await disk.extent_at(offset));
  BlockStatus status{.start = offset, .layer = &disk};
  status.length = std::min(extent.length, limit - offset);
  if (!extent.allocated) co_return co_await below(disk.backing(), status);
  status.present = true;
  status.data = true;
  status.compressed = extent.compressed;
  status.has_offset = !extent.compressed;
  status.offset = extent.offset;
  co_return status;
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
  if (auto* qcow1 = dynamic_cast<disk::qcow1::Qcow1Disk*>(&disk)) {
    co_return co_await qcow1_status(*qcow1, offset, limit);
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
    if (offset >= storage.size()) {  // the rest of the last sector
      status.data = false;
      status.zero = true;
      co_return status;
    }
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
