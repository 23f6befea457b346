// SPDX-License-Identifier: Apache-2.0
// The size of a disk that a user asks for.
#pragma once

#include <cstdint>

#include "vmm/core/result.h"

namespace vmm::disk {

// `bytes`, rounded up to sectors of 512. Fails with kInvalid for more than fit into 2^63 - 1.
inline Result<std::uint64_t> whole_sectors(std::uint64_t bytes) {
  constexpr std::uint64_t kSector = 512;
  if (bytes > std::uint64_t{INT64_MAX} - kSector) {
    return fail(ErrorKind::kInvalid, "New image size is too large");
  }
  return (bytes + kSector - 1) / kSector * kSector;
}

}  // namespace vmm::disk
