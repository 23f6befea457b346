// SPDX-License-Identifier: Apache-2.0
// Recognising a partition table.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace vmm {

inline constexpr std::size_t kPartitionTableBytes = 34 * 512;  // a GPT and its usual 128 entries

// `start` is the beginning of a disk with sectors of 512 bytes, at most kPartitionTableBytes are
// looked at. image-controlled.
bool has_partition_table(std::span<const std::byte> start);

// The partitions' numbers. Empty where that is not all to be seen in these bytes: a GPT whose
// entries stand elsewhere, an MBR with logical partitions.
std::vector<unsigned> partition_numbers(std::span<const std::byte> start);

}  // namespace vmm
