// SPDX-License-Identifier: Apache-2.0
// What L2 entries say: from a guest offset to what is stored there. Pure functions over a slice of
// an L2 table that is in memory.
//
// A subcluster is a cluster in images without extended L2 entries.
#pragma once

#include <cstddef>
#include <cstdint>

#include "disk/qcow/units.h"

namespace vmm::disk::qcow {

inline constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;  // refcount is exactly 1
inline constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kZeroFlag = 1;  // version 3, standard entries
inline constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;

struct L2Entry {
  std::uint64_t descriptor = 0;
  std::uint64_t bitmap = 0;  // extended: allocated in bits 0-31, reads as zeros in 32-63

  bool copied() const { return (descriptor & kCopied) != 0; }
  bool compressed() const { return (descriptor & kCompressed) != 0; }
  std::uint64_t offset() const { return descriptor & kOffsetMask; }
  std::uint32_t allocated_bits() const { return static_cast<std::uint32_t>(bitmap); }
  std::uint32_t zero_bits() const { return static_cast<std::uint32_t>(bitmap >> 32); }
  friend bool operator==(const L2Entry&, const L2Entry&) = default;
};

// How the L2 entries of an image are to be read.
struct L2Format {
  Geometry geometry;
  std::uint32_t slice_bits = 12;  // bytes of a slice
  bool zero_flag = true;          // version 3
  bool data_file = false;         // guest clusters are in another file: offset 0 may be in use

  std::uint64_t slice_entries() const {
    return std::uint64_t{1} << (slice_bits - geometry.l2_entry_bits());
  }
  // Guest bytes a slice stands for.
  std::uint64_t slice_coverage() const { return slice_entries() << geometry.cluster_bits; }
  std::uint64_t entry_index(GuestOffset at) const {
    return (at.value >> geometry.cluster_bits) & (slice_entries() - 1);
  }
  // Where in an L2 table the slice for `at` starts, in bytes.
  std::uint64_t slice_start(GuestOffset at) const {
    const std::uint64_t index = (at.value >> geometry.cluster_bits) & (geometry.l2_entries() - 1);
    return (index / slice_entries()) << slice_bits;
  }
};

L2Entry load_entry(const std::byte* slice, std::uint64_t index, const Geometry& geometry);
void store_entry(std::byte* slice, std::uint64_t index, const Geometry& geometry,
                 const L2Entry& entry);

enum class MappingKind : std::uint8_t {
  kUnallocated,  // what the backing file has there, else zeros
  kZero,
  kData,
  kCompressed,
  kCorrupt,  // an entry that means nothing
};

// Guest bytes that are stored in one piece, or not at all.
struct Mapping {
  MappingKind kind = MappingKind::kUnallocated;
  bool allocated = false;        // there is a host cluster, in use or kept
  bool copied = false;           // and nobody else uses it
  HostOffset host;               // kData: of the offset that was asked for
  std::uint64_t descriptor = 0;  // kCompressed, kCorrupt: the entry's first word
  std::uint64_t length = 0;      // bytes, from the offset asked for; at least 1
};

// What a (sub)cluster of one entry is; host is the cluster's start.
Mapping classify(const L2Entry& entry, std::uint32_t subcluster, const L2Format& format);

// What is at `at`, and for how far that goes on, at most `max_length` bytes and to the slice's end.
// For zeros and unallocated ranges `allocated` and `copied` speak of the first (sub)cluster.
Mapping map_slice(const std::byte* slice, const L2Format& format, GuestOffset at,
                  std::uint64_t max_length);

}  // namespace vmm::disk::qcow
