// SPDX-License-Identifier: Apache-2.0
// Zeros where a storage may hold something else: a block device is never empty.
#pragma once

#include <cstdint>

#include "disk/storage.h"

namespace vmm::disk {

// Bytes [offset, offset + length) read as zeros when this is done, in the cheapest way there is:
// their space is given back where the storage can, else zeros are written. Behind the storage's end
// nothing is done, and the storage keeps its size.
Task<Result<void>> make_zero(Storage& storage, std::uint64_t offset, std::uint64_t length);

}  // namespace vmm::disk
