// SPDX-License-Identifier: Apache-2.0
// Reading what a snapshot holds, without a change to the image.
#include <algorithm>

#include "disk/qcow/qcow_disk.h"

namespace vmm::disk::qcow {

Task<Result<void>> QcowDisk::show_snapshot(std::size_t index) {
  if (!read_only()) co_return fail(ErrorKind::kPermission, "the disk is open for writing");
  if (data_file_) {
    co_return fail(ErrorKind::kUnsupported, "a data file is not part of snapshots");
  }
  const Snapshot snapshot = snapshots_[index];
  VMM_CO_TRY(std::vector<std::uint64_t> l1,
             co_await read_l1(snapshot.l1_offset, snapshot.l1_entries));
  // A table that is shorter than the disk: the rest was never written.
  const std::uint64_t needed = Header::l1_entries_for(geometry_, snapshot.disk_size);
  if (needed * 8 > kMaxL1Bytes) {
    co_return fail(ErrorKind::kCorrupt, "the snapshot's size is beyond the format's limit");
  }
  l1.resize(std::max<std::uint64_t>(l1.size(), needed), 0);
  l1_.assign(snapshot.l1_offset, std::move(l1));
  size_ = snapshot.disk_size;
  co_return Result<void>();
}

}  // namespace vmm::disk::qcow
