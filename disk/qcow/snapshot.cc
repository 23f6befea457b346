// SPDX-License-Identifier: Apache-2.0
// Internal snapshots, and what the header says of the backing file. All of this happens while no
// request is under way; commits are, so the header and the tables change beneath it.
//
// While references are recounted, COPIED flags and refcounts disagree for a moment. Version 3 says
// so with the dirty bit, and whoever opens the image after a crash repairs it; in version 2 the
// order alone keeps every state readable: flags that are missing only cost a copy.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "disk/qcow/qcow_disk.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {

Result<void> QcowDisk::check_maintenance() {
  if (read_only()) return fail(ErrorKind::kPermission, "the disk is open read-only");
  if (corrupt_) return fail(ErrorKind::kCorrupt, "the image is marked corrupt");
  return {};
}

Task<Result<void>> QcowDisk::set_dirty(bool dirty) {
  if (header().version < 3) co_return Result<void>();
  const HeaderFile::Change change = [dirty](Header& header) {
    header.set(Incompatible::kDirty, dirty);
  };
  // Where the mark cannot be taken away all is well but for it: the next commit takes it away.
  co_return co_await header_.update(
      change, dirty ? HeaderFile::OnFailure::kTakeBack : HeaderFile::OnFailure::kInsist);
}

Task<Result<std::vector<std::uint64_t>>> QcowDisk::read_l1(HostOffset at, std::uint64_t entries) {
  ResidentTable table("snapshot's L1 table");
  VMM_CO_CHECK(co_await table.load(*storage_, at, entries));
  co_return table.entries();
}

// Every L2 table and every cluster the L1 table refers to, one reference more or less. To be called
// with nothing dirty; going down, the L1 table must be gone from the file already.
Task<Result<void>> QcowDisk::change_references(const std::vector<std::uint64_t>& l1, bool up) {
  HostRun run{HostCluster(0), 0};
  AlignedBuffer table(geometry_.cluster_size());
  std::vector<HostRun> runs;
  for (std::uint64_t l1_entry : l1) {
    const HostOffset offset(l1_entry & kOffsetMask);
    if (offset == HostOffset(0)) continue;
    if (!geometry_.is_cluster_aligned(offset.value) || offset.value >= storage_->size()) {
      co_return fail(ErrorKind::kCorrupt, fmt::format("no L2 table can be at {:#x}", offset.value));
    }
    iovec whole = table.as_iovec();
    VMM_CO_CHECK(co_await storage_->readv(offset.value, IoVec(&whole, 1)));
    runs.assign(1, {geometry_.cluster_of(offset), 1});
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      const L2Entry entry = load_entry(table.data(), i, geometry_);
      if (entry.compressed()) {
        run = compressed_clusters(entry.descriptor);
      } else if (entry.offset() != 0 && !data_file_) {
        run = {geometry_.cluster_of(HostOffset(entry.offset())), 1};
      } else {
        continue;
      }
      if (runs.back().end() == run.first) {
        runs.back().count += run.count;
      } else {
        runs.push_back(run);
      }
    }
    for (const HostRun& changed : runs) {
      if (up) {
        VMM_CO_CHECK(co_await refcounts_.increase(changed));
      } else {
        for (std::uint64_t i = 0; i < changed.count; ++i) {
          VMM_CO_TRY(std::uint64_t count, co_await refcounts_.get(changed.first + i));
          if (count == 1) l2_.drop(geometry_.start_of(changed.first + i), geometry_.cluster_size());
        }
        VMM_CO_CHECK(co_await allocator_.release(changed, false));
      }
    }
  }
  co_return Result<void>();
}

// Sets COPIED in the active tables exactly where the refcount is 1.
Task<Result<void>> QcowDisk::refresh_copied() {
  AlignedBuffer table(geometry_.cluster_size());
  for (std::uint64_t i = 0; i < l1_.size(); ++i) {
    const HostOffset offset(l1_[i] & kOffsetMask);
    if (offset == HostOffset(0)) continue;
    VMM_CO_TRY(std::uint64_t table_count, co_await refcounts_.get(geometry_.cluster_of(offset)));
    l1_.set(i, offset.value | (table_count == 1 ? kCopied : 0));
    iovec whole = table.as_iovec();
    VMM_CO_CHECK(co_await storage_->readv(offset.value, IoVec(&whole, 1)));
    bool changed = false;
    for (std::uint64_t j = 0; j < geometry_.l2_entries(); ++j) {
      L2Entry entry = load_entry(table.data(), j, geometry_);
      if (entry.compressed() || entry.offset() == 0 || data_file_) continue;
      VMM_CO_TRY(std::uint64_t count,
                 co_await refcounts_.get(geometry_.cluster_of(HostOffset(entry.offset()))));
      if (entry.copied() == (count == 1)) continue;
      entry.descriptor ^= kCopied;
      store_entry(table.data(), j, geometry_, entry);
      changed = true;
    }
    if (!changed) continue;
    l2_.drop(offset, geometry_.cluster_size());
    VMM_CO_CHECK(co_await storage_->writev(offset.value, IoVec(&whole, 1)));
  }
  co_return co_await commit();
}

Task<Result<HostOffset>> QcowDisk::write_new_table(std::span<const std::byte> bytes,
                                                   MetadataKind kind) {
  if (bytes.empty()) co_return HostOffset(0);
  const std::uint64_t clusters = geometry_.clusters_for(bytes.size());
  VMM_CO_TRY(Allocator::Allocation place, co_await allocator_.allocate(clusters, clusters));
  AlignedBuffer padded = AlignedBuffer::zeroed(clusters << geometry_.cluster_bits);
  std::copy(bytes.begin(), bytes.end(), padded.data());
  const HostOffset at = geometry_.start_of(place.run.first);
  iovec whole = padded.as_iovec();
  Result<void> written = co_await storage_->writev(at.value, IoVec(&whole, 1));
  if (!written) {
    (void)co_await allocator_.release(place.run, false);
    co_return Unexpected(std::move(written).error());
  }
  metadata_.add(place.run, kind);
  co_return at;
}

Task<Result<void>> QcowDisk::replace_snapshot_table(std::vector<Snapshot> snapshots) {
  VMM_CO_TRY(std::vector<std::byte> old, encode_snapshots(snapshots_));
  VMM_CO_TRY(std::vector<std::byte> bytes, encode_snapshots(snapshots));
  VMM_CO_TRY(HostOffset at, co_await write_new_table(bytes, MetadataKind::kSnapshotTable));
  const HostRun before{geometry_.cluster_of(header().snapshots_offset),
                       geometry_.clusters_for(old.size())};
  const HostRun after{geometry_.cluster_of(at), geometry_.clusters_for(bytes.size())};
  const auto count = static_cast<std::uint32_t>(snapshots.size());
  const HeaderFile::Change change = [at, count](Header& header) {
    header.snapshots_offset = at;
    header.nr_snapshots = count;
  };
  Result<void> done = co_await commit();
  if (done) done = co_await header_.update(change);
  if (done) snapshots_ = std::move(snapshots);
  const HostRun unused = done ? before : after;
  if (unused.count > 0) drop_reference(unused);
  co_return done;
}

// Writes an active L1 table to a new place, and makes the header point there, with the size that
// goes with it. What is in memory is the caller's affair.
Task<Result<HostOffset>> QcowDisk::write_new_l1(const std::vector<std::uint64_t>& l1,
                                                std::uint64_t size) {
  std::vector<std::byte> bytes(l1.size() * 8);
  for (std::size_t i = 0; i < l1.size(); ++i) {
    store_be<std::uint64_t>(bytes.data() + i * 8, l1[i]);
  }
  VMM_CO_TRY(HostOffset at, co_await write_new_table(bytes, MetadataKind::kL1Table));
  const HostRun before{geometry_.cluster_of(header().l1_offset),
                       geometry_.clusters_for(std::uint64_t{header().l1_entries} * 8)};
  const HostRun after{geometry_.cluster_of(at), geometry_.clusters_for(bytes.size())};
  const auto entries = static_cast<std::uint32_t>(l1.size());
  const HeaderFile::Change change = [at, entries, size](Header& header) {
    header.l1_offset = at;
    header.l1_entries = entries;
    header.size = size;
  };
  Result<void> done = co_await commit();
  if (done) done = co_await header_.update(change);
  const HostRun unused = done ? before : after;
  if (unused.count > 0) drop_reference(unused);
  if (!done) co_return Unexpected(std::move(done).error());
  co_return at;
}

// Another active L1 table, whatever the present one says, and the size that goes with it.
Task<Result<void>> QcowDisk::replace_l1(std::vector<std::uint64_t> l1, std::uint64_t size) {
  VMM_CO_TRY(HostOffset at, co_await write_new_l1(l1, size));
  l1_.assign(at, std::move(l1));
  size_ = size;
  co_return Result<void>();
}

Result<std::size_t> QcowDisk::find_snapshot(const std::string& id_or_name) const {
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (snapshots_[i].id == id_or_name) return i;
  }
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (snapshots_[i].name == id_or_name) return i;
  }
  return fail(ErrorKind::kNotFound, fmt::format("there is no snapshot '{}'", id_or_name));
}

Task<Result<void>> QcowDisk::create_snapshot(Snapshot snapshot) {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  if (data_file_) {
    co_return fail(ErrorKind::kUnsupported,
                   "an image with an external data file has no internal snapshots: guest data "
                   "there is written in place");
  }
  std::uint64_t id = 0;
  for (const Snapshot& other : snapshots_) {
    id = std::max<std::uint64_t>(id, std::strtoull(other.id.c_str(), nullptr, 10));
  }
  snapshot.id = std::to_string(id + 1);
  snapshot.disk_size = size();
  VMM_CO_CHECK(co_await end_partial_cluster());
  VMM_CO_CHECK(co_await settle());
  VMM_CO_CHECK(co_await set_dirty(true));

  const std::vector<std::uint64_t> l1 = l1_.entries();
  VMM_CO_CHECK(co_await change_references(l1, true));
  VMM_CO_CHECK(co_await commit());
  VMM_CO_CHECK(co_await refresh_copied());
  std::vector<std::byte> bytes(l1.size() * 8);
  for (std::size_t i = 0; i < l1.size(); ++i) {
    store_be<std::uint64_t>(bytes.data() + i * 8, l1[i] & ~kCopied);
  }
  VMM_CO_TRY(snapshot.l1_offset, co_await write_new_table(bytes, MetadataKind::kInactiveL1Table));
  snapshot.l1_entries = static_cast<std::uint32_t>(l1.size());
  std::vector<Snapshot> all = snapshots_;
  all.push_back(std::move(snapshot));
  VMM_CO_CHECK(co_await replace_snapshot_table(std::move(all)));
  VMM_CO_CHECK(co_await settle());
  co_return co_await set_dirty(false);
}

Task<Result<void>> QcowDisk::apply_snapshot(std::string id_or_name) {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  VMM_CO_TRY(std::size_t index, find_snapshot(id_or_name));
  if (data_file_) {
    co_return fail(ErrorKind::kUnsupported,
                   "a snapshot of an image with an external data file does not hold the data");
  }
  Snapshot snapshot = snapshots_[index];
  // image-controlled
  if (Header::l1_entries_for(geometry_, snapshot.disk_size) > kMaxL1Bytes / 8) {
    co_return fail(ErrorKind::kCorrupt,
                   fmt::format("the snapshot '{}' is of a disk of {} bytes, which clusters of {} "
                               "cannot hold",
                               id_or_name, snapshot.disk_size, geometry_.cluster_size()));
  }
  VMM_CO_CHECK(co_await end_partial_cluster());
  VMM_CO_CHECK(co_await settle());
  VMM_CO_CHECK(co_await set_dirty(true));
  VMM_CO_CHECK(co_await apply(std::move(snapshot)));
  VMM_CO_CHECK(co_await settle());
  note_metadata();
  co_return co_await set_dirty(false);
}

Task<Result<void>> QcowDisk::apply(Snapshot snapshot) {
  VMM_CO_TRY(std::vector<std::uint64_t> l1,
             co_await read_l1(snapshot.l1_offset, snapshot.l1_entries));
  const std::vector<std::uint64_t> before = l1_.entries();
  VMM_CO_CHECK(co_await change_references(l1, true));
  VMM_CO_CHECK(co_await commit());
  for (std::uint64_t& entry : l1) entry &= ~kCopied;
  const std::uint64_t needed = Header::l1_entries_for(geometry_, snapshot.disk_size);
  if (l1.size() < needed) l1.resize(needed, 0);
  VMM_CO_CHECK(co_await replace_l1(std::move(l1), snapshot.disk_size));
  VMM_CO_CHECK(co_await change_references(before, false));
  co_return co_await refresh_copied();
}

Task<Result<void>> QcowDisk::delete_snapshot(std::string id_or_name) {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  VMM_CO_TRY(std::size_t index, find_snapshot(id_or_name));
  VMM_CO_CHECK(co_await end_partial_cluster());
  VMM_CO_CHECK(co_await settle());
  VMM_CO_CHECK(co_await set_dirty(true));
  const Snapshot gone = snapshots_[index];
  VMM_CO_TRY(std::vector<std::uint64_t> l1, co_await read_l1(gone.l1_offset, gone.l1_entries));
  std::vector<Snapshot> rest = snapshots_;
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(index));
  VMM_CO_CHECK(co_await replace_snapshot_table(std::move(rest)));
  VMM_CO_CHECK(co_await change_references(l1, false));
  if (gone.l1_entries > 0) {
    const HostRun table{geometry_.cluster_of(gone.l1_offset),
                        geometry_.clusters_for(std::uint64_t{gone.l1_entries} * 8)};
    VMM_CO_CHECK(co_await allocator_.release(table, false));
  }
  VMM_CO_CHECK(co_await commit());
  VMM_CO_CHECK(co_await refresh_copied());
  VMM_CO_CHECK(co_await settle());
  note_metadata();
  co_return co_await set_dirty(false);
}

Task<Result<void>> QcowDisk::set_backing(std::string name, std::string format) {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  if (name.size() > kMaxBackingName) {
    co_return fail(ErrorKind::kInvalid, fmt::format("the backing file's name has {} bytes, at most "
                                                    "{} fit",
                                                    name.size(), kMaxBackingName));
  }
  if (!name.empty() && header().has(Autoclear::kRawDataFile)) {
    co_return fail(ErrorKind::kUnsupported,
                   "an image whose data file is raw (data_file_raw) has no backing file: the data "
                   "file alone is the disk");
  }
  const HeaderFile::Change change = [name, format](Header& header) {
    header.backing_file = name;
    header.set_text(ExtensionType::kBackingFormat, name.empty() ? "" : format);
  };
  Header tried = header();
  change(tried);
  VMM_CO_TRY(std::vector<std::byte> fits, encode_header(tried));
  VMM_CO_CHECK(co_await settle());
  co_return co_await header_.update(change);
}

Task<Result<void>> QcowDisk::make_empty() {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  VMM_CO_CHECK(co_await end_partial_cluster());
  VMM_CO_CHECK(co_await settle());
  const std::vector<std::uint64_t> before = l1_.entries();
  VMM_CO_CHECK(co_await replace_l1(std::vector<std::uint64_t>(before.size(), 0), size()));
  VMM_CO_CHECK(co_await change_references(before, false));
  VMM_CO_CHECK(co_await settle());
  note_metadata();
  co_return Result<void>();
}

Task<Result<std::optional<std::string>>> QcowDisk::snapshot_over_backing() {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  if (!header().backing_file.empty()) {
    const std::vector<Snapshot> snapshots = snapshots_;
    for (const Snapshot& snapshot : snapshots) {
      VMM_CO_TRY(const bool shows, co_await shows_backing(snapshot));
      if (shows) co_return std::optional<std::string>(snapshot.name);
    }
  }
  co_return std::optional<std::string>();
}

// Whether anything of the snapshot's disk is stored nowhere in this image, as far as the backing
// file reaches (everywhere, where it is not open).
Task<Result<bool>> QcowDisk::shows_backing(const Snapshot& snapshot) {
  const std::uint64_t end =
      backing_ ? std::min(backing_->size(), snapshot.disk_size) : snapshot.disk_size;
  VMM_CO_TRY(const std::vector<std::uint64_t> l1,
             co_await read_l1(snapshot.l1_offset, snapshot.l1_entries));
  AlignedBuffer table(geometry_.cluster_size());
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < l1.size() && at < end; ++i) {
    const HostOffset offset(l1[i] & kOffsetMask);
    if (offset == HostOffset(0)) co_return true;
    // image-controlled
    if (!geometry_.is_cluster_aligned(offset.value) || offset.value >= storage_->size()) {
      co_return fail(ErrorKind::kCorrupt, fmt::format("no L2 table can be at {:#x}", offset.value));
    }
    iovec whole = table.as_iovec();
    VMM_CO_CHECK(co_await storage_->readv(offset.value, IoVec(&whole, 1)));
    for (std::uint64_t j = 0; j < geometry_.l2_entries() && at < end; ++j) {
      const L2Entry entry = load_entry(table.data(), j, geometry_);
      for (std::uint32_t sub = 0; sub < geometry_.subclusters() && at < end; ++sub) {
        if (classify(entry, sub, format_).kind == MappingKind::kUnallocated) co_return true;
        at += geometry_.subcluster_size();
      }
    }
  }
  co_return at < end;  // the table ends before
}

}  // namespace vmm::disk::qcow
