// SPDX-License-Identifier: Apache-2.0
// The kinds of numbers in a qcow image, one type each: mixing up a guest offset and a host offset
// does not compile.
#pragma once

#include <compare>
#include <cstdint>

namespace vmm::disk::qcow {

template <class Tag>
struct Offset {
  std::uint64_t value = 0;  // bytes

  constexpr Offset() = default;
  constexpr explicit Offset(std::uint64_t bytes) : value(bytes) {}
  constexpr Offset operator+(std::uint64_t bytes) const { return Offset(value + bytes); }
  constexpr Offset operator-(std::uint64_t bytes) const { return Offset(value - bytes); }
  constexpr std::uint64_t operator-(Offset other) const { return value - other.value; }
  constexpr auto operator<=>(const Offset&) const = default;
};

using GuestOffset = Offset<struct GuestTag>;  // as the guest counts
using HostOffset = Offset<struct HostTag>;    // in the image file

// A cluster of the image file, counted from its start.
struct HostCluster {
  std::uint64_t index = 0;

  constexpr HostCluster() = default;
  constexpr explicit HostCluster(std::uint64_t nr) : index(nr) {}
  constexpr HostCluster operator+(std::uint64_t clusters) const {
    return HostCluster(index + clusters);
  }
  constexpr auto operator<=>(const HostCluster&) const = default;
};

// Clusters that follow each other in the image file.
struct HostRun {
  HostCluster first;
  std::uint64_t count = 0;

  constexpr HostCluster end() const { return first + count; }
  friend constexpr bool operator==(const HostRun&, const HostRun&) = default;
};

// The sizes that follow from cluster_bits, the entry width and refcount_order.
struct Geometry {
  std::uint32_t cluster_bits = 16;   // 9..21
  std::uint32_t refcount_order = 4;  // refcounts are 1 << refcount_order bits wide: 0..6
  bool extended_l2 = false;          // 16-byte L2 entries with 32 subclusters each

  constexpr std::uint64_t cluster_size() const { return std::uint64_t{1} << cluster_bits; }
  constexpr std::uint64_t cluster_mask() const { return cluster_size() - 1; }

  constexpr std::uint32_t l2_entry_bits() const { return extended_l2 ? 4 : 3; }
  constexpr std::uint32_t l2_entry_size() const { return 1u << l2_entry_bits(); }
  constexpr std::uint32_t l2_bits() const { return cluster_bits - l2_entry_bits(); }
  // Entries of one L2 table, which fills a cluster.
  constexpr std::uint64_t l2_entries() const { return std::uint64_t{1} << l2_bits(); }
  // Guest bytes one L1 entry stands for.
  constexpr std::uint64_t l2_coverage() const {
    return std::uint64_t{1} << (l2_bits() + cluster_bits);
  }

  constexpr std::uint32_t subclusters() const { return extended_l2 ? 32 : 1; }
  constexpr std::uint32_t subcluster_bits() const {
    return extended_l2 ? cluster_bits - 5 : cluster_bits;
  }
  constexpr std::uint64_t subcluster_size() const { return std::uint64_t{1} << subcluster_bits(); }

  constexpr std::uint32_t refcount_bits() const { return 1u << refcount_order; }
  // Entries of one refcount block, which fills a cluster.
  constexpr std::uint64_t refblock_entries() const { return cluster_size() * 8 >> refcount_order; }
  constexpr std::uint64_t max_refcount() const {
    return refcount_order == 6 ? ~std::uint64_t{0} : (std::uint64_t{1} << refcount_bits()) - 1;
  }

  constexpr HostCluster cluster_of(HostOffset at) const {
    return HostCluster(at.value >> cluster_bits);
  }
  constexpr HostOffset start_of(HostCluster cluster) const {
    return HostOffset(cluster.index << cluster_bits);
  }
  constexpr std::uint64_t clusters_for(std::uint64_t bytes) const {
    return (bytes >> cluster_bits) + ((bytes & cluster_mask()) != 0);
  }
  constexpr bool is_cluster_aligned(std::uint64_t bytes) const {
    return (bytes & cluster_mask()) == 0;
  }
};

}  // namespace vmm::disk::qcow
