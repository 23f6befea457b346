// SPDX-License-Identifier: Apache-2.0
// Compressed clusters: where they are, and how they are packed and unpacked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "disk/qcow/header.h"
#include "disk/qcow/units.h"
#include "vmm/core/result.h"

namespace vmm::disk::qcow {

// The bytes that hold a compressed cluster: any offset, up to the end of a 512-byte sector. The
// data may end earlier; neighbours may share the sectors.
struct CompressedRange {
  HostOffset offset;
  std::uint64_t size = 0;  // bytes; less than two clusters, whatever the descriptor says
};
CompressedRange compressed_range(std::uint64_t descriptor, const Geometry& geometry);

// The L2 entry for `size` bytes at `offset`.
std::uint64_t compressed_descriptor(HostOffset offset, std::uint64_t size,
                                    const Geometry& geometry);
// Offsets from here on do not fit a descriptor.
std::uint64_t max_compressed_offset(const Geometry& geometry);

// Fills `cluster` exactly. Fails with kCorrupt. image-controlled: `packed`.
Result<void> decompress(CompressionType type, std::span<const std::byte> packed,
                        std::span<std::byte> cluster);

// Bytes used of `packed`, or 0 where the cluster does not become smaller than `packed`.
Result<std::size_t> compress(CompressionType type, std::span<const std::byte> cluster,
                             std::span<std::byte> packed);

}  // namespace vmm::disk::qcow
