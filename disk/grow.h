// SPDX-License-Identifier: Apache-2.0
// Making a disk larger that is open.
#pragma once

#include <cstdint>

#include "disk/disk.h"

namespace vmm::disk {

// To `size` bytes, a multiple of 512 and not less than there are; what is added reads as zeros, and
// the size is durable when it is done. Nothing else may be under way. Fails with kUnsupported where
// the format has no way to, with kInvalid for a smaller size.
Task<Result<void>> grow(Disk& disk, std::uint64_t size);

}  // namespace vmm::disk
