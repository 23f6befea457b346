// SPDX-License-Identifier: Apache-2.0
// QcowDisk: a qcow2 image, version 2 or 3, as a Disk, and what the image tools need of it.
//
// How a write goes, and in which order things reach the file: docs/qcow.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "disk/disk.h"
#include "disk/qcow/allocator.h"
#include "disk/qcow/header.h"
#include "disk/qcow/header_file.h"
#include "disk/qcow/in_flight.h"
#include "disk/qcow/mapping.h"
#include "disk/qcow/metadata_map.h"
#include "disk/qcow/refcounts.h"
#include "disk/qcow/resident_table.h"
#include "disk/qcow/snapshot_table.h"
#include "disk/qcow/table_cache.h"
#include "disk/storage.h"

namespace vmm::disk::qcow {

struct QcowOptions {
  bool read_only = false;
  // Bytes; 0: what the whole image needs, at most 32 MiB.
  std::uint64_t l2_cache_size = 0;
  // Bytes of a slice: 512 up to a cluster, a power of two; 0: 4 KiB.
  std::uint32_t l2_cache_entry_size = 0;
  std::uint64_t refcount_cache_size = 0;  // bytes; 0: 256 KiB
  bool discard = true;                    // guest discards free clusters
  bool detect_zeroes = false;             // writes of zeros become zero clusters
  bool no_sync = false;                   // cache=unsafe: order and durability do not matter
};

// Guest bytes that are stored in one way, for `map`.
struct Extent {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  bool data = false;  // has data in this image (compressed or not)
  bool zero = false;  // reads as zeros
  bool compressed = false;
  bool allocated = false;  // decided by this image, not by its backing file
  bool has_offset = false;
  std::uint64_t offset = 0;  // in the file that holds the data
};

struct Statistics {
  CacheStats l2;
  CacheStats refcounts;
  std::uint64_t l2_cache_bytes = 0;
  std::uint64_t l2_slice_bytes = 0;
};

class QcowDisk final : public Disk, private TableCache::WriteBack {
 public:
  // `backing` and `data_file` are there exactly where the header asks for them (a backing file may
  // be left out on purpose: it then reads as zeros).
  static Task<Result<std::unique_ptr<QcowDisk>>> open(EventLoop& loop,
                                                      std::unique_ptr<Storage> storage,
                                                      Header header, std::unique_ptr<Disk> backing,
                                                      std::unique_ptr<Storage> data_file,
                                                      QcowOptions options);
  ~QcowDisk() override;

  std::uint64_t size() const override { return size_; }
  bool read_only() const override { return options_.read_only; }
  const char* format() const override { return "qcow2"; }
  std::uint32_t optimal_io_size() const override {
    return static_cast<std::uint32_t>(geometry_.subcluster_size());
  }
  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                  ZeroMode mode) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> close() override;

  const Header& header() const { return header_.now(); }
  const Geometry& geometry() const { return geometry_; }
  Disk* backing() const { return backing_.get(); }
  Storage& storage() { return *storage_; }
  Statistics statistics() const;

  // What follows is for tools and for a paused VM: nothing else may be under way. On a read-only
  // disk what changes something fails with kPermission.

  // Makes a snapshot of what the disk holds now. The id is chosen here.
  Task<Result<void>> create_snapshot(Snapshot snapshot);
  // By id or name, the id first. Fails with kNotFound. Applying restores the size too.
  Task<Result<void>> apply_snapshot(std::string id_or_name);
  Task<Result<void>> delete_snapshot(std::string id_or_name);
  const std::vector<Snapshot>& snapshots() const { return snapshots_; }
  // From now on the disk, which is open for reading only, shows what that one holds, in its size.
  Task<Result<void>> show_snapshot(std::size_t index);

  // In bytes, a multiple of 512. What is cut off is lost; what is added reads as zeros, whatever
  // lay behind the disk's end: old data, a saved machine state, a longer backing file.
  Task<Result<void>> resize(std::uint64_t size);

  // The first snapshot that shows something of the backing file, by name; nothing where there is
  // none. Another backing file, or none, would change what such a snapshot holds.
  Task<Result<std::optional<std::string>>> snapshot_over_backing();

  // Stores one whole cluster (the last one may be shorter) compressed, or as it is where that saves
  // nothing. `packed` is what compress() made of it, padded with zeros to a whole cluster; empty
  // where nothing was saved.
  Task<Result<void>> write_compressed(std::uint64_t offset, std::span<const std::byte> packed,
                                      IoVec cluster);

  // Gives every cluster that starts at `from` (bytes) or behind it its place; `full` writes zeros
  // there, else `reserve` asks the file system for the space. For images that were just made
  // (`from` is 0) or have just grown, from their old size on; a backing file needs extended_l2.
  Task<Result<void>> preallocate(std::uint64_t from, bool reserve, bool full);

  // Changes what the header says and nothing else: the guest may see different data.
  Task<Result<void>> set_backing(std::string name, std::string format);

  // Forgets all guest data in this image, so that the backing file shows: after a commit.
  Task<Result<void>> make_empty();

  // What is stored at `offset` < size(), and for how far (to the end of a slice at most).
  Task<Result<Extent>> extent_at(std::uint64_t offset);

 private:
  QcowDisk(EventLoop& loop, std::unique_ptr<Storage> storage, Header header,
           std::unique_ptr<Disk> backing, std::unique_ptr<Storage> data_file,
           const QcowOptions& options, const L2Format& format, std::size_t l2_slices,
           std::size_t refcount_slices);

  // snapshot.cc
  Result<void> check_maintenance();
  Task<Result<void>> settle();
  Task<Result<void>> set_dirty(bool dirty);
  Task<Result<void>> change_references(const std::vector<std::uint64_t>& l1, bool up);
  Task<Result<void>> refresh_copied();
  Task<Result<std::vector<std::uint64_t>>> read_l1(HostOffset at, std::uint64_t entries);
  Task<Result<HostOffset>> write_new_table(std::span<const std::byte> bytes, MetadataKind kind);
  Task<Result<void>> replace_snapshot_table(std::vector<Snapshot> snapshots);
  Task<Result<HostOffset>> write_new_l1(const std::vector<std::uint64_t>& l1, std::uint64_t size);
  Task<Result<void>> replace_l1(std::vector<std::uint64_t> l1, std::uint64_t size);
  Result<std::size_t> find_snapshot(const std::string& id_or_name) const;
  Task<Result<void>> apply(Snapshot snapshot);
  Task<Result<bool>> shows_backing(const Snapshot& snapshot);

  // resize.cc
  Result<void> check_new_size(std::uint64_t size) const;
  Task<Result<void>> set_size(std::uint64_t size);
  Task<Result<void>> shrink(std::uint64_t size);
  Task<Result<void>> grow(std::uint64_t size);
  Task<Result<void>> grow_l1(std::uint64_t entries);
  Task<Result<void>> zero_new_part(std::uint64_t from);
  Task<Result<void>> forget_clusters(GuestOffset from, GuestOffset to);

  // write_compressed.cc
  Task<Result<HostOffset>> allocate_bytes(std::uint64_t size);
  Task<Result<void>> end_partial_cluster();
  Task<Result<void>> leave_partial_cluster();

  // open.cc
  Task<Result<void>> load();
  Task<Result<void>> prepare_writing();
  void note_metadata();

  // tables.cc
  struct Table {
    HostOffset offset;      // 0: there is none
    bool writable = false;  // used by nobody else
  };
  Result<Table> table_for(GuestOffset at) const;
  TableCache::Ref find_slice(GuestOffset at);
  // An empty Ref: there is no L2 table.
  Task<Result<TableCache::Ref>> get_slice(GuestOffset at);
  Task<Result<TableCache::Ref>> get_writable_slice(GuestOffset at);
  Result<void> check_slice(HostOffset slice) const;
  Task<Result<void>> make_table_writable(std::uint64_t l1_index);
  Task<Result<void>> copy_table(HostOffset from, AlignedBuffer& to);
  std::uint64_t to_slice_end(GuestOffset at) const {
    return format_.slice_coverage() - (at.value & (format_.slice_coverage() - 1));
  }

  // read.cc
  struct Parts;
  Task<Result<void>> read_parts(GuestOffset at, IoVec iov);
  Result<void> check_there(HostOffset host, std::uint64_t length);
  Task<Result<void>> read_data(HostOffset host, IoVec iov);
  Task<Result<void>> read_backing(std::uint64_t offset, IoVec iov);
  Task<Result<void>> read_compressed(std::uint64_t descriptor, std::uint64_t skip, IoVec iov);
  void start_read(const Mapping& mapping, GuestOffset at, std::vector<iovec> iov, Parts& parts);
  // Also where it is left out for now: zeros must be said, or it would show through later.
  bool has_backing() const { return backing_ != nullptr || !header().backing_file.empty(); }
  Storage& data() { return data_file_ ? *data_file_ : *storage_; }

  // write.cc
  struct WritePlan;
  struct CopyRange;
  HostOffset find_in_place(GuestOffset at, std::uint64_t length);
  Task<Result<void>> write_parts(GuestOffset at, IoVec iov);
  Task<Result<void>> write_data(HostOffset host, IoVec iov);
  Task<Result<void>> write_new(WritePlan plan, GuestOffset at, std::vector<iovec> iov);
  Task<Result<void>> write_clusters(const WritePlan& plan, HostRun run, bool zero, GuestOffset at,
                                    IoVec iov);
  Task<Result<void>> link(const WritePlan& plan, HostRun run, GuestOffset copied_from,
                          GuestOffset copied_to);
  WritePlan plan_write(const std::byte* slice, GuestOffset at, std::uint64_t length) const;
  bool reads_as_zero(const std::byte* slice, GuestOffset from, GuestOffset to) const;
  Result<void> check_overlap(HostOffset host, std::uint64_t length);

  // discard.cc
  enum class Zeroing { kDiscard, kZeroFree, kZeroKeep };
  Task<Result<void>> zero_range(GuestOffset at, GuestOffset end, ZeroMode mode);
  Task<Result<void>> zero_clusters(GuestOffset from, GuestOffset to, Zeroing how);
  bool zero_entry(L2Entry& entry, Zeroing how) const;
  Task<Result<void>> write_zero_bytes(GuestOffset at, std::uint64_t length);
  Task<Result<bool>> already_zero(GuestOffset from, GuestOffset to);

  // commit.cc
  struct Punched {
    HostRun run;
    bool zero;
  };
  Task<Result<void>> write_back() override { return commit(); }
  Task<Result<void>> commit();
  Task<Result<void>> commit_once();
  Task<Result<void>> sync_all();
  void drop_reference(HostRun run);
  Task<void> commit_soon();
  Task<bool> make_space();
  void drop_entry(const L2Entry& entry);
  HostRun compressed_clusters(std::uint64_t descriptor) const;
  Task<void> punch_dropped(std::vector<HostRun> dropped);
  Task<void> punch_run(HostRun run);
  Task<void> release_punched(std::vector<Punched> punched);
  Task<void> mark_corrupt(std::string reason);
  void corrupt_soon(std::string reason);

  EventLoop& loop_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<Storage> data_file_;
  std::unique_ptr<Disk> backing_;
  HeaderFile header_;
  std::uint64_t size_;  // bytes; while the disk grows the header still has the old one
  const Geometry geometry_;
  const L2Format format_;
  QcowOptions options_;

  MetadataMap metadata_;
  ResidentTable l1_;
  TableCache l2_;
  Refcounts refcounts_;
  Allocator allocator_;

  Change* changes_ = nullptr;
  Passages passages_;
  AsyncMutex table_mutex_;  // held while an L2 table is made
  Gate background_;

  // Commits: see commit.cc.
  AsyncMutex commit_mutex_;
  std::uint64_t commit_calls_ = 0;
  std::uint64_t commit_covered_ = 0;
  Result<void> commit_result_;
  std::vector<HostRun> dropped_;  // references that are gone in memory, and still in the file
  std::vector<Punched> punched_;  // gone in the file too; free once the holes are durable
  std::uint64_t nr_dropped_ = 0;  // clusters, since the last commit began
  bool commit_is_near_ = false;
  unsigned nr_punching_ = 0;  // punch_dropped() under way
  WaitQueue punching_;
  bool corrupt_ = false;

  AsyncMutex maintenance_;  // held by snapshots, resize and their like, which change all of it
  std::vector<Snapshot> snapshots_;
  // The cluster that compressed data is appended to. It has one reference of its own.
  HostOffset partial_at_;  // the next byte; 0: there is none
  HostOffset partial_end_;
  AsyncMutex partial_mutex_;
};

}  // namespace vmm::disk::qcow
