// SPDX-License-Identifier: Apache-2.0
// Commit: brings what is in memory to the file, in an order in which every crash leaves a sound
// image.
//
//   0. the header, where nobody knows which one the file has
//   1. refcount blocks, and by the sync behind them all guest data and new tables written so far
//   2. refcount table entries of new blocks; a table that moved, then the header that points to it
//   3. L2 slices and L1 entries, as they were before step 1
//   4. what step 3 no longer refers to: holes are punched, and after the sync of a later commit the
//      refcounts go down and the clusters may be used again
//
// Steps 2 and 3 write copies that were taken before step 1: an entry linked meanwhile must not
// reach the file before its refcount.
#include <fmt/format.h>

#include "disk/qcow/compressed.h"
#include "disk/qcow/qcow_disk.h"
#include "vmm/core/log.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kMaxDroppedBytes = 64 << 20;

}  // namespace

Task<Result<void>> QcowDisk::flush() {
  if (read_only()) co_return Result<void>();
  co_return co_await commit();
}

// Comes back when a commit that began after this call has ended. All who wait for the one that is
// under way share the next.
Task<Result<void>> QcowDisk::commit() {
  const std::uint64_t call = ++commit_calls_;
  AsyncMutex::Lock lock = co_await commit_mutex_.lock();
  if (commit_covered_ >= call) co_return commit_result_;
  const std::uint64_t covered = commit_calls_;
  commit_result_ = co_await commit_once();
  commit_covered_ = covered;
  co_return commit_result_;
}

Task<Result<void>> QcowDisk::commit_once() {
  if (corrupt_) co_return fail(ErrorKind::kCorrupt, "the image is marked corrupt");
  std::vector<HostRun> old_tables;
  ResidentTable& table = refcounts_.table();
  std::uint64_t table_entries = 0;
  ResidentTable::Batch table_batch, l1;
  TableCache::Batch l2;
  {
    // While the allocator makes room in the refcount table, that is neither here nor there.
    AsyncMutex::Lock still = co_await allocator_.lock();
    old_tables = allocator_.take_old_tables();
    table_batch = table.take_dirty();
    table_entries = table.size();
    l1 = l1_.take_dirty();
    l2 = l2_.take_dirty();
  }
  std::vector<HostRun> dropped = std::exchange(dropped_, {});
  nr_dropped_ = 0;
  std::vector<Punched> punched = std::exchange(punched_, {});

  // 0.
  Result<void> done = co_await header_.make_certain();
  // 1.
  if (done) done = co_await refcounts_.cache().write_dirty();
  if (done) done = co_await sync_all();
  if (done) co_await release_punched(std::exchange(punched, {}));
  // 2.
  if (done && !table_batch.empty()) {
    done = co_await table.write(*storage_, std::move(table_batch));
    table_batch.parts.clear();
    if (done) done = co_await storage_->sync();
  }
  if (done && !old_tables.empty()) {
    const HostOffset table_at = table_batch.table;
    const auto clusters = static_cast<std::uint32_t>(table_entries >> (geometry_.cluster_bits - 3));
    const HeaderFile::Change moved = [table_at, clusters](Header& header) {
      header.refcount_table_offset = table_at;
      header.refcount_table_clusters = clusters;
    };
    done = co_await header_.update(moved);
    if (done) spawn(background_, punch_dropped(std::exchange(old_tables, {})));
  }
  // 3.
  if (done && (!l2.empty() || !l1.empty())) {
    Task<Result<void>> l2_written = l2_.write(std::exchange(l2, {}));
    Task<Result<void>> l1_written = l1_.write(*storage_, std::exchange(l1, {}));
    done = co_await l2_written;
    Result<void> l1_done = co_await l1_written;
    if (done) done = std::move(l1_done);
    if (done) done = co_await storage_->sync();
  }
  // 4.
  if (done) {
    if (!dropped.empty()) spawn(background_, punch_dropped(std::move(dropped)));
    co_return done;
  }
  // Nothing is forgotten: the next commit tries all of it again.
  table.put_back(table_batch);
  allocator_.put_back_old_tables(old_tables);
  l2_.put_back(std::move(l2));
  l1_.put_back(l1);
  dropped_.insert(dropped_.end(), dropped.begin(), dropped.end());
  punched_.insert(punched_.end(), punched.begin(), punched.end());
  co_return done;
}

Task<Result<void>> QcowDisk::sync_all() {
  if (data_file_) {
    Task<Result<void>> other = data_file_->sync();
    Result<void> own = co_await storage_->sync();
    Result<void> data_done = co_await other;
    co_return own ? std::move(data_done) : std::move(own);
  }
  co_return co_await storage_->sync();
}

void QcowDisk::drop_reference(HostRun run) {
  if (!dropped_.empty() && dropped_.back().end() == run.first) {
    dropped_.back().count += run.count;
  } else {
    dropped_.push_back(run);
  }
  nr_dropped_ += run.count;
  // A guest that never flushes must not fill the host with what it threw away.
  if (nr_dropped_ << geometry_.cluster_bits < kMaxDroppedBytes || commit_is_near_) return;
  commit_is_near_ = true;
  spawn(background_, commit_soon());
}

// In another turn: whoever drops a reference is about to mark its table dirty.
Task<void> QcowDisk::commit_soon() {
  co_await loop_.yield();
  // What fails here fails again in a flush, which reports it; what closes the disk commits itself.
  if (!background_.closed()) (void)co_await commit();
  commit_is_near_ = false;
}

// For a request that found no space: frees what the guest threw away. False: there was nothing.
Task<bool> QcowDisk::make_space() {
  if (dropped_.empty() && punched_.empty() && nr_punching_ == 0) co_return false;
  // Gone from the tables and punched; then gone from the refcounts.
  for (int round = 0; round < 2; ++round) {
    Result<void> done = co_await commit();
    if (!done) co_return false;
    while (nr_punching_ > 0) co_await punching_.wait();
  }
  co_return true;
}

// image-controlled: an entry may point anywhere.
void QcowDisk::drop_entry(const L2Entry& entry) {
  HostRun run{geometry_.cluster_of(HostOffset(entry.offset())), 1};
  if (entry.compressed()) {
    run = compressed_clusters(entry.descriptor);
  } else if (entry.offset() == 0 || data_file_) {
    return;
  }
  if (const MetadataKind* kind = metadata_.find(run)) {
    corrupt_soon(fmt::format("an L2 entry points to the {} at {:#x}", name_of(*kind),
                             geometry_.start_of(run.first).value));
    return;
  }
  drop_reference(run);
}

HostRun QcowDisk::compressed_clusters(std::uint64_t descriptor) const {
  const CompressedRange range = compressed_range(descriptor, geometry_);
  const HostCluster first = geometry_.cluster_of(range.offset);
  const HostCluster last = geometry_.cluster_of(range.offset + (range.size - 1));
  return {first, last.index - first.index + 1};
}

// The file refers to these no more, as often as they are listed. Those with no other user get a
// hole, once no request that looked them up before is under way.
Task<void> QcowDisk::punch_dropped(std::vector<HostRun> dropped) {
  ++nr_punching_;
  co_await passages_.wait_for_present();
  for (const HostRun& run : dropped) co_await punch_run(run);
  if (--nr_punching_ == 0) punching_.notify_all();
}

Task<void> QcowDisk::punch_run(HostRun run) {
  HostRun same{run.first, 0};  // clusters that are treated alike
  bool same_last_user = false;
  for (std::uint64_t i = 0; i <= run.count; ++i) {
    bool last_user = false;
    if (i < run.count) {
      Result<std::uint64_t> count = co_await refcounts_.get(run.first + i);
      last_user = count && *count == 1;
    }
    if (same.count > 0 && (i == run.count || last_user != same_last_user)) {
      bool zero = false;
      if (same_last_user) {
        l2_.drop(geometry_.start_of(same.first), same.count << geometry_.cluster_bits);
        if (options_.discard) {
          Result<bool> hole = co_await storage_->punch(geometry_.start_of(same.first).value,
                                                       same.count << geometry_.cluster_bits);
          zero = hole && *hole;
        }
      }
      punched_.push_back({same, zero});
      same = {run.first + i, 0};
    }
    same_last_user = last_user;
    ++same.count;
  }
}

// A failure here leaks clusters, which a check finds, and harms nothing else.
Task<void> QcowDisk::release_punched(std::vector<Punched> punched) {
  for (const Punched& freed : punched) {
    Result<void> released = co_await allocator_.release(freed.run, freed.zero);
    if (!released) {
      log::warn("clusters at {:#x} could not be freed: {}",
                geometry_.start_of(freed.run.first).value, released.error().message());
    }
  }
}

void QcowDisk::corrupt_soon(std::string reason) {
  if (corrupt_) return;
  spawn(background_, mark_corrupt(std::move(reason)));
}

Task<void> QcowDisk::mark_corrupt(std::string reason) {
  if (corrupt_) co_return;
  corrupt_ = true;
  log::error("the image is corrupt and no longer written: {}", reason);
  if (header().version < 3) co_return;  // has no place to say so
  const HeaderFile::Change mark = [](Header& header) { header.set(Incompatible::kCorrupt, true); };
  const Result<void> written = co_await header_.update(mark, HeaderFile::OnFailure::kInsist);
  if (!written) log::error("marking the image corrupt failed: {}", written.error().message());
}

// Commits until nothing is left to do: what was freed takes three rounds, gone from the tables,
// punched, gone from the refcounts.
Task<Result<void>> QcowDisk::settle() {
  for (int round = 0; round < 4; ++round) {
    VMM_CO_CHECK(co_await commit());
    co_await background_.close();
    background_.reopen();
    const bool rest = !dropped_.empty() || !punched_.empty() || l2_.nr_dirty() > 0 ||
                      refcounts_.cache().nr_dirty() > 0 || l1_.dirty() ||
                      refcounts_.table().dirty();
    if (!rest) break;
  }
  co_return Result<void>();
}

Task<Result<void>> QcowDisk::close() {
  Result<void> done;
  if (!read_only() && !corrupt_) {
    done = co_await end_partial_cluster();
    if (done) done = co_await settle();
    const std::uint64_t whole =
        (storage_->size() + geometry_.cluster_mask()) & ~geometry_.cluster_mask();
    // Not a device, whose size is given.
    if (done && !corrupt_ && whole != storage_->size() && storage_->fresh_is_zero()) {
      done = co_await storage_->truncate(whole);
    }
  }
  co_await background_.close();
  if (backing_) {
    Result<void> closed = co_await backing_->close();
    if (done) done = std::move(closed);
  }
  co_return done;
}

}  // namespace vmm::disk::qcow
