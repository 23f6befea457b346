// SPDX-License-Identifier: Apache-2.0
// Recognising a partition table.
#pragma once

#include <cstddef>
#include <span>

namespace vmm {

inline constexpr std::size_t kPartitionTableBytes = 1024;  // sectors 0 and 1

// `start` is the beginning of a disk, at most kPartitionTableBytes are looked at. image-controlled.
bool has_partition_table(std::span<const std::byte> start);

}  // namespace vmm
