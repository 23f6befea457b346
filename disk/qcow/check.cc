// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "disk/aligned_buffer.h"
#include "disk/qcow/compressed.h"
#include "disk/qcow/mapping.h"
#include "disk/qcow/refcounts.h"
#include "disk/qcow/reference_counts.h"
#include "disk/qcow/snapshot_table.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::size_t kMaxMessages = 1000;
constexpr std::uint64_t kMaxBitmaps = 65535;
constexpr std::uint64_t kMaxBitmapDirectory = 64 << 20;  // bytes

class Checker {
 public:
  Checker(Storage& storage, const Header& header)
      : storage_(storage), header_(header), geometry_(header.geometry) {
    format_.geometry = geometry_;
    format_.slice_bits = geometry_.cluster_bits;
    format_.zero_flag = header.version >= 3;
    format_.data_file = header.has(Incompatible::kDataFile);
  }

  Task<Result<void>> check(Repair repair);
  Task<Result<void>> finish_repair();
  CheckReport& report() { return report_; }
  bool wrote() const { return wrote_; }

 private:
  void error(std::string message) {
    ++report_.corruptions;
    say("ERROR " + std::move(message));
  }
  void say(std::string message) {
    if (report_.messages.size() < kMaxMessages) report_.messages.push_back(std::move(message));
  }
  void refer(HostOffset start, std::uint64_t bytes, const char* what);

  Task<Result<std::vector<std::uint64_t>>> read_words(HostOffset at, std::uint64_t count);
  Task<Result<void>> write_bytes(std::uint64_t at, const std::byte* data, std::size_t size);
  Task<Result<void>> count_l1(HostOffset at, std::uint64_t entries, bool active);
  Task<Result<void>> count_l2(HostOffset at, bool active, std::uint64_t guest_cluster);
  Task<Result<void>> count_bitmaps();
  Task<Result<void>> count_refcount_structures();
  Task<Result<void>> compare(Repair repair);
  void compare_one(HostCluster cluster, std::uint64_t counted, std::byte* block,
                   std::uint64_t index, Repair repair, bool& changed);
  Task<Result<void>> check_copied(Repair repair);
  Task<Result<void>> check_copied_l2(HostOffset table, Repair repair);
  Task<Result<void>> rebuild();
  std::uint64_t true_count(HostCluster cluster) const { return counts_.get(cluster); }
  // What the image's refcounts say, after what was repaired.
  std::uint64_t stored_count(HostCluster cluster) const {
    auto wrong = left_wrong_.find(cluster.index);
    return wrong == left_wrong_.end() ? true_count(cluster) : wrong->second;
  }

  Storage& storage_;
  Header header_;
  const Geometry geometry_;
  L2Format format_;
  CheckReport report_;
  ReferenceCounts counts_;
  std::map<std::uint64_t, std::uint64_t> left_wrong_;  // stored refcounts that differ, by cluster
  std::vector<std::uint64_t> refcount_table_;
  std::vector<Snapshot> snapshots_;
  bool must_rebuild_ = false;
  bool wrote_ = false;
};

// image-controlled: anything may be referred to.
void Checker::refer(HostOffset start, std::uint64_t bytes, const char* what) {
  if (bytes == 0) return;
  if (start.value >= kMaxOffset || start.value >= storage_.size() ||
      start.value + bytes > storage_.size() + geometry_.cluster_size()) {
    error(fmt::format("{} at {:#x} lies beyond the end of the file", what, start.value));
    return;
  }
  const HostCluster first = geometry_.cluster_of(start);
  const HostCluster last = geometry_.cluster_of(start + (bytes - 1));
  for (HostCluster at = first; at <= last; at = at + 1) counts_.add(at);
}

Task<Result<std::vector<std::uint64_t>>> Checker::read_words(HostOffset at, std::uint64_t count) {
  std::vector<std::uint64_t> words(count);
  iovec whole{words.data(), count * 8};
  Result<void> read = co_await storage_.readv(at.value, IoVec(&whole, 1));
  if (!read) co_return Unexpected(std::move(read).error());
  for (std::uint64_t& word : words) word = load_be<std::uint64_t>(&word);
  co_return words;
}

Task<Result<void>> Checker::write_bytes(std::uint64_t at, const std::byte* data, std::size_t size) {
  wrote_ = true;
  iovec whole = as_iovec(std::span<const std::byte>(data, size));
  co_return co_await storage_.writev(at, IoVec(&whole, 1));
}

Task<Result<void>> Checker::count_l1(HostOffset at, std::uint64_t entries, bool active) {
  refer(at, entries * 8, active ? "L1 table" : "snapshot's L1 table");
  VMM_CO_TRY(std::vector<std::uint64_t> l1, co_await read_words(at, entries));
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    const HostOffset table(l1[i] & kOffsetMask);
    if (table == HostOffset(0)) continue;
    if (!geometry_.is_cluster_aligned(table.value)) {
      error(fmt::format("L1 entry {} is {:#x}: not the offset of a cluster", i, l1[i]));
      continue;
    }
    if (table.value >= storage_.size()) {
      error(fmt::format("L2 table {:#x} lies beyond the end of the file", table.value));
      continue;
    }
    refer(table, geometry_.cluster_size(), "L2 table");
    VMM_CO_CHECK(co_await count_l2(table, active, i << geometry_.l2_bits()));
  }
  co_return Result<void>();
}

Task<Result<void>> Checker::count_l2(HostOffset at, bool active, std::uint64_t guest_cluster) {
  AlignedBuffer table(geometry_.cluster_size());
  iovec whole = table.as_iovec();
  VMM_CO_CHECK(co_await storage_.readv(at.value, IoVec(&whole, 1)));
  std::optional<std::uint64_t> next_host;  // where the cluster would not be a fragment
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const L2Entry entry = load_entry(table.data(), i, geometry_);
    if (entry.compressed()) {
      if (entry.copied()) {
        error(fmt::format("compressed cluster {}: the COPIED flag must not be set",
                          guest_cluster + i));
      }
      const CompressedRange range = compressed_range(entry.descriptor, geometry_);
      refer(range.offset, range.size, "compressed cluster");
      if (active) {
        ++report_.compressed_clusters;
        ++report_.allocated_clusters;
        ++report_.fragmented_clusters;
      }
      continue;
    }
    bool meaning = true;
    for (std::uint32_t sub = 0; sub < geometry_.subclusters(); ++sub) {
      meaning = meaning && classify(entry, sub, format_).kind != MappingKind::kCorrupt;
    }
    if (!meaning) {
      error(fmt::format("the L2 entry of guest cluster {} is {:#x}, which means nothing",
                        guest_cluster + i, entry.descriptor));
      continue;
    }
    // Offset 0 is a place in a data file.
    if (entry.offset() == 0 && !(format_.data_file && entry.copied())) continue;
    if (active) {
      ++report_.allocated_clusters;
      if (next_host && entry.offset() != *next_host) ++report_.fragmented_clusters;
      next_host = entry.offset() + geometry_.cluster_size();
    }
    if (!format_.data_file) {
      refer(HostOffset(entry.offset()), geometry_.cluster_size(), "data cluster");
    }
  }
  co_return Result<void>();
}

// Bitmaps belong to the image as long as their autoclear bit says so.
Task<Result<void>> Checker::count_bitmaps() {
  const Extension* extension = header_.find(ExtensionType::kBitmaps);
  if (extension == nullptr || !header_.has(Autoclear::kBitmaps)) co_return Result<void>();
  if (extension->data.size() < 24) {
    error("the bitmaps extension is too short");
    co_return Result<void>();
  }
  const std::uint32_t count = load_be<std::uint32_t>(extension->data.data());
  const std::uint64_t size = load_be<std::uint64_t>(extension->data.data() + 8);
  const HostOffset at(load_be<std::uint64_t>(extension->data.data() + 16));
  if (count > kMaxBitmaps || size > kMaxBitmapDirectory || at.value >= storage_.size()) {
    error("the bitmaps extension points to a directory that cannot be");
    co_return Result<void>();
  }
  refer(at, size, "bitmap directory");
  std::vector<std::byte> directory(size);
  iovec whole = as_iovec(std::span<std::byte>(directory));
  VMM_CO_CHECK(co_await storage_.readv(at.value, IoVec(&whole, 1)));
  std::size_t pos = 0;
  for (std::uint32_t i = 0; i < count && directory.size() - pos >= 24; ++i) {
    const std::byte* entry = directory.data() + pos;
    const HostOffset table(load_be<std::uint64_t>(entry));
    const std::uint64_t entries = load_be<std::uint32_t>(entry + 8);
    const std::size_t length =
        24 + load_be<std::uint32_t>(entry + 20) + load_be<std::uint16_t>(entry + 18);
    if (entries * 8 > kMaxL1Bytes || table.value >= storage_.size()) {
      error(fmt::format("bitmap {} has a table that cannot be", i));
    } else {
      refer(table, entries * 8, "bitmap table");
      VMM_CO_TRY(std::vector<std::uint64_t> words, co_await read_words(table, entries));
      for (std::uint64_t word : words) {
        if ((word & kOffsetMask) == 0) continue;
        refer(HostOffset(word & kOffsetMask), geometry_.cluster_size(), "bitmap data");
      }
    }
    pos += std::min(directory.size() - pos, (length + 7) & ~std::size_t{7});
  }
  co_return Result<void>();
}

Task<Result<void>> Checker::count_refcount_structures() {
  const std::uint64_t table_bytes = std::uint64_t{header_.refcount_table_clusters}
                                    << geometry_.cluster_bits;
  refer(header_.refcount_table_offset, table_bytes, "refcount table");
  VMM_CO_TRY(refcount_table_, co_await read_words(header_.refcount_table_offset, table_bytes / 8));
  for (std::uint64_t i = 0; i < refcount_table_.size(); ++i) {
    const std::uint64_t entry = refcount_table_[i];
    if (entry == 0) continue;
    if (!geometry_.is_cluster_aligned(entry) || entry >= storage_.size()) {
      error(fmt::format("refcount block {} cannot be at {:#x}", i, entry));
      refcount_table_[i] = 0;
      must_rebuild_ = true;
      continue;
    }
    refer(HostOffset(entry), geometry_.cluster_size(), "refcount block");
    if (true_count(geometry_.cluster_of(HostOffset(entry))) != 1) {
      error(fmt::format("refcount block {} at {:#x} is also used for something else", i, entry));
      must_rebuild_ = true;
    }
  }
  co_return Result<void>();
}

Task<Result<void>> Checker::check(Repair repair) {
  refer(HostOffset(0), geometry_.cluster_size(), "header");
  report_.total_clusters = geometry_.clusters_for(header_.size);
  VMM_CO_TRY(snapshots_, co_await load_snapshots(storage_, header_));
  VMM_CO_CHECK(co_await count_l1(header_.l1_offset, header_.l1_entries, true));
  for (const Snapshot& snapshot : snapshots_) {
    VMM_CO_CHECK(co_await count_l1(snapshot.l1_offset, snapshot.l1_entries, false));
  }
  if (!snapshots_.empty()) {
    VMM_CO_TRY(std::vector<std::byte> table, encode_snapshots(snapshots_));
    refer(header_.snapshots_offset, table.size(), "snapshot table");
  }
  VMM_CO_CHECK(co_await count_bitmaps());
  VMM_CO_CHECK(co_await count_refcount_structures());
  report_.image_end_offset = counts_.end() << geometry_.cluster_bits;
  VMM_CO_CHECK(co_await compare(repair));
  if (must_rebuild_ && repair == Repair::kAll) {
    report_.corruptions_fixed = report_.corruptions;
    VMM_CO_CHECK(co_await rebuild());
  }
  VMM_CO_CHECK(co_await check_copied(repair));
  if (wrote_) co_return co_await finish_repair();
  co_return Result<void>();
}

void Checker::compare_one(HostCluster cluster, std::uint64_t counted, std::byte* block,
                          std::uint64_t index, Repair repair, bool& changed) {
  const std::uint64_t stored = load_refcount(block, index, geometry_.refcount_order);
  if (stored == counted) return;
  const bool leak = stored > counted;
  if (leak && cluster.index >= geometry_.clusters_for(storage_.size())) {
    // No space is lost there.
    if (repair == Repair::kNone || must_rebuild_) return;
    store_refcount(block, index, geometry_.refcount_order, counted);
    changed = true;
    return;
  }
  if (leak) {
    ++report_.leaks;
    say(fmt::format("Leaked cluster {} refcount={} reference={}", cluster.index, stored, counted));
    report_.image_end_offset =
        std::max(report_.image_end_offset, (cluster.index + 1) << geometry_.cluster_bits);
  } else {
    error(fmt::format("cluster {} refcount={} reference={}", cluster.index, stored, counted));
  }
  if (repair == Repair::kNone || (!leak && repair != Repair::kAll) || must_rebuild_ ||
      counted > geometry_.max_refcount()) {
    left_wrong_[cluster.index] = stored;
    return;
  }
  store_refcount(block, index, geometry_.refcount_order, counted);
  changed = true;
  ++(leak ? report_.leaks_fixed : report_.corruptions_fixed);
}

Task<Result<void>> Checker::compare(Repair repair) {
  const std::uint64_t per_block = geometry_.refblock_entries();
  // Clusters that are in use and have no block.
  std::uint64_t uncovered = 0;
  counts_.for_each([&](HostCluster cluster, std::uint32_t) {
    const std::uint64_t index = cluster.index / per_block;
    if (index < refcount_table_.size() && refcount_table_[index] != 0) return;
    if (uncovered++ == 0) {
      error(fmt::format("cluster {} and maybe others have no refcount block", cluster.index));
    }
  });
  if (uncovered > 0) must_rebuild_ = true;
  AlignedBuffer block(geometry_.cluster_size());
  for (std::uint64_t i = 0; i < refcount_table_.size(); ++i) {
    if (refcount_table_[i] == 0) continue;
    iovec whole = block.as_iovec();
    VMM_CO_CHECK(co_await storage_.readv(refcount_table_[i], IoVec(&whole, 1)));
    bool changed = false;
    for (std::uint64_t entry = 0; entry < per_block; ++entry) {
      const HostCluster cluster(i * per_block + entry);
      compare_one(cluster, true_count(cluster), block.data(), entry, repair, changed);
    }
    if (!changed) continue;
    VMM_CO_CHECK(co_await write_bytes(refcount_table_[i], block.data(), block.size()));
  }
  co_return Result<void>();
}

// COPIED says that the refcount is 1, in the active tables; it is what decides about writing in
// place.
Task<Result<void>> Checker::check_copied(Repair repair) {
  VMM_CO_TRY(std::vector<std::uint64_t> l1,
             co_await read_words(header_.l1_offset, header_.l1_entries));
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    const HostOffset table(l1[i] & kOffsetMask);
    if (table == HostOffset(0) || !geometry_.is_cluster_aligned(table.value) ||
        table.value >= storage_.size()) {
      continue;
    }
    const bool copied = (l1[i] & kCopied) != 0;
    const bool alone = stored_count(geometry_.cluster_of(table)) == 1;
    if (copied != alone) {
      error(fmt::format("OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount={}", i, l1[i],
                        stored_count(geometry_.cluster_of(table))));
      if (repair == Repair::kAll) {
        Be64 entry(alone ? l1[i] | kCopied : l1[i] & ~kCopied);
        VMM_CO_CHECK(co_await write_bytes(header_.l1_offset.value + i * 8,
                                          reinterpret_cast<const std::byte*>(&entry), 8));
        ++report_.corruptions_fixed;
      }
    }
    VMM_CO_CHECK(co_await check_copied_l2(table, repair));
  }
  co_return Result<void>();
}

Task<Result<void>> Checker::check_copied_l2(HostOffset table, Repair repair) {
  if (format_.data_file) co_return Result<void>();  // has no refcounts: always COPIED
  AlignedBuffer bytes(geometry_.cluster_size());
  iovec whole = bytes.as_iovec();
  VMM_CO_CHECK(co_await storage_.readv(table.value, IoVec(&whole, 1)));
  bool changed = false;
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    L2Entry entry = load_entry(bytes.data(), i, geometry_);
    if (entry.offset() == 0 && !entry.compressed()) continue;
    const std::uint64_t count = stored_count(geometry_.cluster_of(HostOffset(entry.offset())));
    const bool should = !entry.compressed() && count == 1;
    if (entry.copied() == should || (entry.compressed() && repair != Repair::kAll)) continue;
    if (!entry.compressed()) {
      error(fmt::format("OFLAG_COPIED data cluster: l2_entry={:x} refcount={}", entry.descriptor,
                        count));
    }
    if (repair != Repair::kAll) continue;
    entry.descriptor = should ? entry.descriptor | kCopied : entry.descriptor & ~kCopied;
    store_entry(bytes.data(), i, geometry_, entry);
    changed = true;
    ++report_.corruptions_fixed;
  }
  if (changed) co_return co_await write_bytes(table.value, bytes.data(), bytes.size());
  co_return Result<void>();
}

// New refcount blocks and a new table behind the end of the file, from the counted references. The
// old ones are not counted any more.
Task<Result<void>> Checker::rebuild() {
  std::map<std::uint64_t, std::uint64_t> values;  // by cluster
  counts_.for_each(
      [&](HostCluster cluster, std::uint32_t count) { values[cluster.index] = count; });
  auto forget = [&](HostOffset at, std::uint64_t clusters) {
    for (std::uint64_t i = 0; i < clusters; ++i) {
      auto found = values.find(geometry_.cluster_of(at).index + i);
      if (found != values.end() && --found->second == 0) values.erase(found);
    }
  };
  forget(header_.refcount_table_offset, header_.refcount_table_clusters);
  for (std::uint64_t entry : refcount_table_) {
    if (entry != 0) forget(HostOffset(entry), 1);
  }
  const std::uint64_t start = geometry_.clusters_for(storage_.size());
  const std::uint64_t per_block = geometry_.refblock_entries();
  std::uint64_t table_clusters = 1;
  std::map<std::uint64_t, std::uint64_t> blocks;  // block number -> host cluster
  while (true) {
    blocks.clear();
    for (const auto& [cluster, count] : values) blocks[cluster / per_block] = 0;
    // What is new needs blocks too, until nothing is added.
    for (std::size_t before = 0; before != blocks.size();) {
      before = blocks.size();
      const std::uint64_t end = start + table_clusters + blocks.size();
      for (std::uint64_t c = start; c < end; ++c) blocks[c / per_block] = 0;
    }
    const std::uint64_t needed = geometry_.clusters_for((blocks.rbegin()->first + 1) * 8);
    if (needed <= table_clusters) break;
    table_clusters = needed;
  }
  if (table_clusters << geometry_.cluster_bits > kMaxRefcountTableBytes) {
    co_return fail(ErrorKind::kNoSpace, "the image is too large for a new refcount table");
  }
  std::uint64_t next = start + table_clusters;
  for (auto& [number, cluster] : blocks) cluster = next++;
  for (std::uint64_t c = start; c < next; ++c) values[c] = 1;
  left_wrong_.clear();

  AlignedBuffer table = AlignedBuffer::zeroed(table_clusters << geometry_.cluster_bits);
  AlignedBuffer block(geometry_.cluster_size());
  for (const auto& [number, cluster] : blocks) {
    store_be<std::uint64_t>(table.data() + number * 8, cluster << geometry_.cluster_bits);
    std::memset(block.data(), 0, block.size());
    for (auto at = values.lower_bound(number * per_block);
         at != values.end() && at->first < (number + 1) * per_block; ++at) {
      store_refcount(block.data(), at->first % per_block, geometry_.refcount_order,
                     std::min(at->second, geometry_.max_refcount()));
    }
    VMM_CO_CHECK(
        co_await write_bytes(cluster << geometry_.cluster_bits, block.data(), block.size()));
  }
  VMM_CO_CHECK(co_await write_bytes(start << geometry_.cluster_bits, table.data(), table.size()));
  VMM_CO_CHECK(co_await storage_.sync());
  header_.refcount_table_offset = HostOffset(start << geometry_.cluster_bits);
  header_.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
  co_return Result<void>();
}

// Refcounts are right again: the header may say so, after them.
Task<Result<void>> Checker::finish_repair() {
  VMM_CO_CHECK(co_await storage_.sync());
  header_.set(Incompatible::kDirty, false);
  header_.set(Incompatible::kCorrupt, false);
  VMM_CO_TRY(std::vector<std::byte> bytes, encode_header(header_));
  VMM_CO_CHECK(co_await write_bytes(0, bytes.data(), bytes.size()));
  co_return co_await storage_.sync();
}

}  // namespace

Task<Result<CheckReport>> check_image(EventLoop& /*loop*/, Storage& storage, const Header& header,
                                      Repair repair) {
  Checker first(storage, header);
  VMM_CO_CHECK(co_await first.check(repair));
  const bool flagged = header.has(Incompatible::kDirty) || header.has(Incompatible::kCorrupt);
  if (repair == Repair::kNone) co_return std::move(first.report());
  // Sound, and marked otherwise.
  if (!first.wrote() && flagged && first.report().corruptions == 0) {
    VMM_CO_CHECK(co_await first.finish_repair());
  }
  if (!first.wrote()) co_return std::move(first.report());
  VMM_CO_TRY(Header repaired, co_await read_header(storage));
  Checker second(storage, repaired);
  VMM_CO_CHECK(co_await second.check(Repair::kNone));
  CheckReport report = std::move(second.report());
  report.corruptions_fixed = first.report().corruptions_fixed;
  report.leaks_fixed = first.report().leaks_fixed;
  report.messages = std::move(first.report().messages);
  co_return report;
}

}  // namespace vmm::disk::qcow
