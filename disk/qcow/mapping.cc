// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/mapping.h"

#include <algorithm>

#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {

L2Entry load_entry(const std::byte* slice, std::uint64_t index, const Geometry& geometry) {
  const std::byte* at = slice + (index << geometry.l2_entry_bits());
  L2Entry entry{load_be<std::uint64_t>(at), 0};
  if (geometry.extended_l2) entry.bitmap = load_be<std::uint64_t>(at + 8);
  return entry;
}

void store_entry(std::byte* slice, std::uint64_t index, const Geometry& geometry,
                 const L2Entry& entry) {
  std::byte* at = slice + (index << geometry.l2_entry_bits());
  store_be(at, entry.descriptor);
  if (geometry.extended_l2) store_be(at + 8, entry.bitmap);
}

// image-controlled
Mapping classify(const L2Entry& entry, std::uint32_t subcluster, const L2Format& format) {
  Mapping mapping;
  mapping.descriptor = entry.descriptor;
  if (entry.compressed()) {
    mapping.kind = MappingKind::kCompressed;
    return mapping;
  }
  mapping.host = HostOffset(entry.offset());
  mapping.copied = entry.copied();
  mapping.allocated = entry.offset() != 0 || (format.data_file && entry.copied());
  if (!format.geometry.is_cluster_aligned(entry.offset())) {
    mapping.kind = MappingKind::kCorrupt;
    return mapping;
  }
  bool data = mapping.allocated;
  bool zero = false;
  if (format.geometry.extended_l2) {
    data = (entry.allocated_bits() >> subcluster & 1) != 0;
    zero = (entry.zero_bits() >> subcluster & 1) != 0;
    if (data && (zero || !mapping.allocated)) {
      mapping.kind = MappingKind::kCorrupt;
      return mapping;
    }
  } else if ((entry.descriptor & kZeroFlag) != 0) {
    zero = true;
    if (!format.zero_flag) {
      mapping.kind = MappingKind::kCorrupt;
      return mapping;
    }
  }
  mapping.kind = zero ? MappingKind::kZero : data ? MappingKind::kData : MappingKind::kUnallocated;
  return mapping;
}

Mapping map_slice(const std::byte* slice, const L2Format& format, GuestOffset at,
                  std::uint64_t max_length) {
  const Geometry& geometry = format.geometry;
  std::uint64_t index = format.entry_index(at);
  const std::uint64_t in_cluster = at.value & geometry.cluster_mask();
  auto subcluster = static_cast<std::uint32_t>(in_cluster >> geometry.subcluster_bits());
  L2Entry entry = load_entry(slice, index, geometry);
  Mapping mapping = classify(entry, subcluster, format);
  const HostOffset first_cluster = mapping.host;
  mapping.host = mapping.host + in_cluster;
  if (mapping.kind == MappingKind::kCompressed) {
    mapping.length = std::min(max_length, geometry.cluster_size() - in_cluster);
    return mapping;
  }
  mapping.length = geometry.subcluster_size() - (in_cluster & (geometry.subcluster_size() - 1));
  std::uint64_t nr_clusters = 0;  // passed since the first
  while (mapping.length < max_length && mapping.kind != MappingKind::kCorrupt) {
    if (++subcluster == geometry.subclusters()) {
      subcluster = 0;
      ++nr_clusters;
      if (++index == format.slice_entries()) break;
      entry = load_entry(slice, index, geometry);
    }
    const Mapping next = classify(entry, subcluster, format);
    if (next.kind != mapping.kind) break;
    if (mapping.kind == MappingKind::kData &&
        (next.copied != mapping.copied ||
         next.host != first_cluster + (nr_clusters << geometry.cluster_bits))) {
      break;
    }
    mapping.length += geometry.subcluster_size();
  }
  mapping.length = std::min(mapping.length, max_length);
  return mapping;
}

}  // namespace vmm::disk::qcow
