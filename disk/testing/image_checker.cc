// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/image_checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "vmm/core/byte_order.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kCopiedFlag = std::uint64_t{1} << 63;
constexpr std::uint64_t kCompressedFlag = std::uint64_t{1} << 62;
constexpr std::uint64_t kOffset = 0x00fffffffffffe00;
constexpr std::size_t kMaxReported = 8;

class Checker {
 public:
  Checker(std::span<const std::byte> image, ImageReport& report) : image_(image), report_(report) {}

  void run() {
    if (!read_header()) return;
    refer(0, 1, ClusterUse::kHeader, 0);
    walk_refcount_table();
    walk_l1(l1_offset_, l1_entries_, /*active=*/true);
    walk_snapshots();
    compare();
  }

 private:
  struct Cluster {
    std::uint64_t references = 0;
    std::uint64_t owner = 0;  // what refers to it; the same again only through snapshots
  };

  template <class... Args>
  void corrupt(fmt::format_string<Args...> format, Args&&... args) {
    if (report_.corruptions.size() < kMaxReported) {
      report_.corruptions.push_back(fmt::format(format, std::forward<Args>(args)...));
    }
  }

  std::uint64_t be64(std::uint64_t at) const {
    return at + 8 <= image_.size() ? load_be<std::uint64_t>(image_.data() + at) : 0;
  }
  std::uint32_t be32(std::uint64_t at) const {
    return at + 4 <= image_.size() ? load_be<std::uint32_t>(image_.data() + at) : 0;
  }
  std::uint16_t be16(std::uint64_t at) const {
    return at + 2 <= image_.size() ? load_be<std::uint16_t>(image_.data() + at) : std::uint16_t{0};
  }

  bool read_header() {
    if (be32(0) != 0x514649fb) {
      corrupt("no magic number");
      return false;
    }
    version_ = be32(4);
    bits_ = be32(20);
    if (version_ < 2 || version_ > 3 || bits_ < 9 || bits_ > 21) {
      corrupt("version {}, cluster_bits {}", version_, bits_);
      return false;
    }
    cluster_ = std::uint64_t{1} << bits_;
    size_ = be64(24);
    l1_entries_ = be32(36);
    l1_offset_ = be64(40);
    table_offset_ = be64(48);
    table_clusters_ = be32(56);
    nr_snapshots_ = be32(60);
    snapshots_offset_ = be64(64);
    if (version_ == 3) {
      const std::uint64_t incompatible = be64(72);
      report_.dirty = (incompatible & 1) != 0;
      if ((incompatible & 2) != 0) corrupt("marked corrupt");
      data_file_ = (incompatible >> 2 & 1) != 0;
      extended_ = (incompatible >> 4 & 1) != 0;
      order_ = be32(96);
    }
    entry_size_ = extended_ ? 16 : 8;
    const std::uint64_t needed = (size_ + coverage() - 1) / coverage();
    if (l1_entries_ < needed) corrupt("{} L1 entries, {} needed", l1_entries_, needed);
    clusters_.resize((image_.size() + cluster_ - 1) / cluster_);
    report_.uses.resize(clusters_.size());
    report_.cluster_bits = bits_;
    return true;
  }

  std::uint64_t coverage() const { return cluster_ / entry_size_ * cluster_; }

  // Counts a reference to each of `count` clusters.
  bool refer(std::uint64_t offset, std::uint64_t count, ClusterUse use, std::uint64_t owner) {
    if (offset % cluster_ != 0) {
      corrupt("{} at {:#x} is not aligned", name_of(use), offset);
      return false;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t index = offset / cluster_ + i;
      if (index >= clusters_.size()) {
        corrupt("{} at {:#x} lies beyond the file's end", name_of(use), index * cluster_);
        return false;
      }
      Cluster& cluster = clusters_[index];
      if (cluster.references > 0 &&
          (report_.uses[index] != use ||
           (use != ClusterUse::kCompressed && cluster.owner != owner + i))) {
        corrupt("the cluster at {:#x} is {} (owner {:#x}) and {} (owner {:#x})", index * cluster_,
                name_of(report_.uses[index]), cluster.owner, name_of(use), owner + i);
      }
      ++cluster.references;
      cluster.owner = owner + i;
      report_.uses[index] = use;
    }
    return true;
  }

  // Owners of metadata are numbers no guest cluster has, and different for each.
  static constexpr std::uint64_t kTableOwner = std::uint64_t{1} << 62;

  void walk_refcount_table() {
    refer(table_offset_, table_clusters_, ClusterUse::kRefcountTable, kTableOwner);
    const std::uint64_t entries = table_clusters_ * cluster_ / 8;
    for (std::uint64_t i = 0; i < entries; ++i) {
      const std::uint64_t entry = be64(table_offset_ + i * 8);
      blocks_.push_back(entry);
      if (entry == 0) continue;
      if (!refer(entry, 1, ClusterUse::kRefcountBlock, kTableOwner * 2 + i)) blocks_.back() = 0;
    }
  }

  std::uint64_t refcount(std::uint64_t cluster) const {
    const std::uint64_t per_block = cluster_ * 8 >> order_;
    const std::uint64_t block = cluster / per_block;
    if (block >= blocks_.size() || blocks_[block] == 0) return 0;
    const std::uint64_t index = cluster % per_block;
    const std::uint64_t bit = index << order_;
    const std::uint64_t at = blocks_[block] + bit / 8;
    switch (order_) {
      case 6:
        return be64(at);
      case 5:
        return be32(at);
      case 4:
        return be16(at);
      default:
        return at < image_.size() ? std::to_integer<std::uint64_t>(image_[at]) >> (bit % 8) &
                                        ((1u << (1u << order_)) - 1)
                                  : 0;
    }
  }

  void check_flag(std::uint64_t offset, bool copied, const char* what, std::uint64_t index) {
    const std::uint64_t count = refcount(offset / cluster_);
    if (copied && count != 1) flags_.push_back({offset, index, what});
    if (!copied && count == 1) ++report_.stale_flags;
  }

  void walk_l1(std::uint64_t offset, std::uint64_t entries, bool active) {
    if (entries == 0) return;
    const std::uint64_t owner = kTableOwner * 3 + (offset << 8);
    refer(offset, (entries * 8 + cluster_ - 1) / cluster_, ClusterUse::kL1Table, owner);
    for (std::uint64_t i = 0; i < entries; ++i) {
      const std::uint64_t entry = be64(offset + i * 8);
      const std::uint64_t table = entry & kOffset;
      if ((entry & ~(kOffset | kCopiedFlag)) != 0) corrupt("L1 entry {} is {:#x}", i, entry);
      if (table == 0) continue;
      if (active) check_flag(table, (entry & kCopiedFlag) != 0, "L1 entry", i);
      if (refer(table, 1, ClusterUse::kL2Table, kTableOwner + i)) walk_l2(table, i, active);
    }
  }

  void walk_l2(std::uint64_t table, std::uint64_t l1_index, bool active) {
    const std::uint64_t entries = cluster_ / entry_size_;
    for (std::uint64_t i = 0; i < entries; ++i) {
      const std::uint64_t guest_cluster = l1_index * entries + i;
      const std::uint64_t entry = be64(table + i * entry_size_);
      if ((entry & kCompressedFlag) != 0) {
        walk_compressed(entry, guest_cluster);
        continue;
      }
      const std::uint64_t zero_flag = version_ == 3 && !extended_ ? 1 : 0;
      if ((entry & ~(kOffset | kCopiedFlag | zero_flag)) != 0) {
        corrupt("L2 entry of guest cluster {:#x} is {:#x}", guest_cluster, entry);
      }
      const std::uint64_t host = entry & kOffset;
      if (data_file_) {  // every cluster has one place in the data file, its own
        if (host != 0 && host != guest_cluster * cluster_) {
          corrupt("guest cluster {:#x} is at {:#x} of the data file", guest_cluster, host);
        }
        continue;
      }
      if (extended_) check_bitmap(table + i * 16 + 8, host, guest_cluster);
      if (host == 0) {
        if ((entry & kCopiedFlag) != 0) {
          corrupt("L2 entry of guest cluster {:#x}: COPIED, and no cluster", guest_cluster);
        }
        continue;
      }
      refer(host, 1, ClusterUse::kData, guest_cluster);
      if (active) {
        check_flag(host, (entry & kCopiedFlag) != 0, "L2 entry of guest cluster", guest_cluster);
      }
    }
  }

  void check_bitmap(std::uint64_t at, std::uint64_t host, std::uint64_t guest_cluster) {
    const std::uint64_t bitmap = be64(at);
    const auto allocated = static_cast<std::uint32_t>(bitmap);
    const auto zero = static_cast<std::uint32_t>(bitmap >> 32);
    if ((allocated & zero) != 0 || (allocated != 0 && host == 0)) {
      corrupt("subclusters of guest cluster {:#x} are {:#x}, cluster at {:#x}", guest_cluster,
              bitmap, host);
    }
  }

  void walk_compressed(std::uint64_t entry, std::uint64_t guest_cluster) {
    const std::uint64_t split = 62 - (bits_ - 8);
    const std::uint64_t offset = entry & ((std::uint64_t{1} << split) - 1);
    const std::uint64_t sectors = (entry & (kCompressedFlag - 1)) >> split;
    const std::uint64_t end = (offset & ~std::uint64_t{511}) + (sectors + 1) * 512;
    if ((entry & kCopiedFlag) != 0) {
      corrupt("compressed guest cluster {:#x} has COPIED set", guest_cluster);
    }
    const std::uint64_t first = offset / cluster_;
    refer(first * cluster_, (end - 1) / cluster_ - first + 1, ClusterUse::kCompressed,
          guest_cluster);
  }

  void walk_snapshots() {
    if (nr_snapshots_ == 0) return;
    std::uint64_t at = snapshots_offset_;
    for (std::uint32_t i = 0; i < nr_snapshots_; ++i) {
      if (at + 40 > image_.size()) {
        corrupt("snapshot {} lies beyond the file's end", i);
        return;
      }
      walk_l1(be64(at), be32(at + 8), /*active=*/false);
      at += 40 + be32(at + 36) + be16(at + 12) + be16(at + 14);
      at = (at + 7) & ~std::uint64_t{7};
    }
    refer(snapshots_offset_, (at - snapshots_offset_ + cluster_ - 1) / cluster_,
          ClusterUse::kSnapshotTable, kTableOwner * 2 - 4096);
  }

  void compare() {
    for (const Flag& flag : flags_) {
      const std::uint64_t count = refcount(flag.offset / cluster_);
      if (flag.offset / cluster_ < clusters_.size() &&
          clusters_[flag.offset / cluster_].references == 1 && count > 1) {
        ++report_.copied_leaks;
        continue;
      }
      corrupt("{} {:#x} has COPIED set, but the cluster at {:#x} has refcount {}", flag.what,
              flag.index, flag.offset, count);
    }
    for (std::uint64_t i = 0; i < clusters_.size(); ++i) {
      const std::uint64_t count = refcount(i);
      if (count < clusters_[i].references) {
        corrupt("the cluster at {:#x} ({}) has refcount {} and {} references", i * cluster_,
                name_of(report_.uses[i]), count, clusters_[i].references);
      } else if (count > clusters_[i].references) {
        ++report_.leaks;
      }
    }
  }

  const std::span<const std::byte> image_;
  ImageReport& report_;
  std::uint32_t version_ = 0;
  std::uint32_t bits_ = 0;
  std::uint32_t order_ = 4;
  std::uint64_t cluster_ = 0;
  std::uint64_t entry_size_ = 8;
  bool extended_ = false;
  bool data_file_ = false;
  std::uint64_t size_ = 0;
  std::uint64_t l1_entries_ = 0;
  std::uint64_t l1_offset_ = 0;
  std::uint64_t table_offset_ = 0;
  std::uint64_t table_clusters_ = 0;
  std::uint32_t nr_snapshots_ = 0;
  std::uint64_t snapshots_offset_ = 0;
  std::vector<std::uint64_t> blocks_;
  std::vector<Cluster> clusters_;
  struct Flag {
    std::uint64_t offset;
    std::uint64_t index;
    const char* what;
  };
  std::vector<Flag> flags_;  // COPIED where the refcount is not 1
};

}  // namespace

const char* name_of(ClusterUse use) {
  switch (use) {
    case ClusterUse::kFree:
      return "free";
    case ClusterUse::kHeader:
      return "header";
    case ClusterUse::kRefcountTable:
      return "refcount table";
    case ClusterUse::kRefcountBlock:
      return "refcount block";
    case ClusterUse::kL1Table:
      return "L1 table";
    case ClusterUse::kL2Table:
      return "L2 table";
    case ClusterUse::kData:
      return "data";
    case ClusterUse::kCompressed:
      return "compressed data";
    case ClusterUse::kSnapshotTable:
      return "snapshot table";
  }
  return "?";
}

ImageReport check_image(std::span<const std::byte> image) {
  ImageReport report;
  Checker(image, report).run();
  return report;
}

}  // namespace vmm::disk
