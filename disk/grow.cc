// SPDX-License-Identifier: Apache-2.0
#include "disk/grow.h"

#include <fmt/core.h>

#include "disk/checks.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/raw_disk.h"
#include "disk/writethrough_disk.h"

namespace vmm::disk {

Task<Result<void>> grow(Disk& disk, std::uint64_t size) {
  if (auto* wrapper = dynamic_cast<WritethroughDisk*>(&disk)) return grow(wrapper->inner(), size);
  if (disk.read_only()) return failed(Error(ErrorKind::kPermission, "the disk is read-only"));
  if (size % 512 != 0 || size > std::uint64_t{INT64_MAX}) {
    return failed(Error(ErrorKind::kInvalid,
                        fmt::format("a disk of {} bytes cannot be: whole sectors of 512", size)));
  }
  if (size < disk.size()) {
    return failed(
        Error(ErrorKind::kInvalid,
              fmt::format("the disk has {} bytes, and a disk in use only grows", disk.size())));
  }
  if (auto* raw = dynamic_cast<RawDisk*>(&disk)) return raw->grow(size);
  if (auto* qcow = dynamic_cast<qcow::QcowDisk*>(&disk)) return qcow->resize(size);
  return failed(
      Error(ErrorKind::kUnsupported,
            fmt::format("a disk of format {} has the size it was made with", disk.format())));
}

}  // namespace vmm::disk
