// SPDX-License-Identifier: Apache-2.0
// What every Disk checks before a request goes on.
#pragma once

#include <cstdint>

#include "disk/disk.h"

namespace vmm::disk {

inline bool in_range(const Disk& disk, std::uint64_t offset, std::uint64_t length) {
  return offset <= disk.size() && length <= disk.size() - offset;
}

Result<void> check_range(const Disk& disk, std::uint64_t offset, std::uint64_t length);
Result<void> check_writable(const Disk& disk, std::uint64_t offset, std::uint64_t length);

// A task that is done and failed.
Task<Result<void>> failed(Error error);

}  // namespace vmm::disk
