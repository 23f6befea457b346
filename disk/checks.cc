// SPDX-License-Identifier: Apache-2.0
#include "disk/checks.h"

#include <fmt/format.h>

namespace vmm::disk {

Result<void> check_range(const Disk& disk, std::uint64_t offset, std::uint64_t length) {
  if (in_range(disk, offset, length)) return {};
  return fail(ErrorKind::kOutOfRange,
              fmt::format("{} bytes at {:#x} lie beyond the disk's end at {:#x}", length, offset,
                          disk.size()));
}

Result<void> check_writable(const Disk& disk, std::uint64_t offset, std::uint64_t length) {
  if (disk.read_only()) return fail(ErrorKind::kPermission, "the disk is open read-only");
  return check_range(disk, offset, length);
}

Task<Result<void>> failed(Error error) {
  co_return Unexpected(std::move(error));
}

}  // namespace vmm::disk
