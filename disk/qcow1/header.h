// SPDX-License-Identifier: Apache-2.0
// The header of a qcow image, version 1: QEMU's format of 2004, which has no refcounts, snapshots
// or extensions. There is no specification; the facts are those that QEMU's block/qcow.c relies on.
//
//   byte  0  magic "QFI\xfb"          32  cluster_bits (1 byte), l2_bits (1 byte), 2 bytes unused
//         4  version, 1               36  crypt_method: 0 none, 1 AES
//         8  backing_file_offset      40  l1_table_offset
//        16  backing_file_size        48  the end
//        20  mtime
//        24  size, bytes
//
// All numbers are big endian. An L1 or L2 entry of 0 means that nothing is there. An L2 entry with
// bit 63 is a compressed cluster: its length in bytes in the cluster_bits bits below, its offset in
// the rest; the deflate stream (window of 4 KiB, no header) may start at any byte.
#pragma once

#include <cstdint>
#include <string>

#include "disk/storage.h"

namespace vmm::disk::qcow1 {

inline constexpr std::uint32_t kHeaderBytes = 48;
inline constexpr std::uint32_t kMinClusterBits = 9;
inline constexpr std::uint32_t kMaxClusterBits = 16;
inline constexpr std::uint32_t kMinL2Bits = 6;
inline constexpr std::uint32_t kMaxL2Bits = 13;
inline constexpr std::uint64_t kMaxL1Bytes = 32 << 20;
inline constexpr std::uint32_t kMaxBackingName = 1023;
inline constexpr std::uint64_t kCompressed = std::uint64_t{1} << 63;

struct Header {
  std::uint64_t size = 0;  // virtual, bytes
  std::uint32_t cluster_bits = 12;
  std::uint32_t l2_bits = 9;  // entries of an L2 table: 1 << l2_bits
  std::uint64_t l1_offset = 0;
  std::string backing_file;  // empty: none

  std::uint64_t cluster_size() const { return std::uint64_t{1} << cluster_bits; }
  std::uint64_t l2_bytes() const { return std::uint64_t{8} << l2_bits; }
  // Guest bytes that one L2 table stands for.
  std::uint64_t l2_coverage() const { return std::uint64_t{1} << (cluster_bits + l2_bits); }
  std::uint64_t l1_entries() const {
    return size / l2_coverage() + (size % l2_coverage() != 0 ? 1 : 0);
  }
  // Offsets of compressed clusters are below this.
  std::uint64_t compressed_offsets() const { return std::uint64_t{1} << (63 - cluster_bits); }
};

// Reads and checks the header; opens nothing that it names. Fails with kUnsupported for encrypted
// images, with kInvalid for fields out of range, by their names.
Task<Result<Header>> read_header(Storage& storage);

// What qemu-img makes: clusters of 4 KiB, or of 512 bytes where there is a backing file. Fails for
// sizes and names that the format cannot hold.
Result<Header> header_for(std::uint64_t size, const std::string& backing_file);

// Writes an image without data into `storage`, which is empty.
Task<Result<void>> format_image(Storage& storage, const Header& header);

}  // namespace vmm::disk::qcow1
