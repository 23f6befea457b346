// SPDX-License-Identifier: Apache-2.0
// Compressed clusters are packed one behind the other, so a host cluster holds several, each with
// a reference of its own. Preallocation is here too: both are for images being made.
#include <fmt/format.h>

#include <algorithm>

#include "disk/checks.h"
#include "disk/qcow/compressed.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/zeroing.h"

namespace vmm::disk::qcow {

Task<Result<void>> QcowDisk::write_compressed(std::uint64_t offset,
                                              std::span<const std::byte> packed, IoVec cluster) {
  VMM_CO_CHECK(check_maintenance());
  VMM_CO_CHECK(check_writable(*this, offset, total_size(cluster)));
  if (data_file_) {
    co_return fail(ErrorKind::kUnsupported, "an external data file has no compressed clusters");
  }
  if (packed.empty() || packed.size() >= geometry_.cluster_size()) {
    co_return co_await writev(offset, cluster);
  }
  const GuestOffset at(offset);
  const std::uint64_t number = offset >> geometry_.cluster_bits;
  if (!geometry_.is_cluster_aligned(offset)) {
    co_return fail(ErrorKind::kInvalid, "compressed data starts inside a cluster");
  }
  while (Change* other = Change::find(changes_, number, number + 1)) co_await other->over();
  Change change(loop_, changes_, number, 1);
  Result<HostOffset> place = co_await allocate_bytes(packed.size());
  if (!place) co_return Unexpected(std::move(place).error());
  iovec whole = as_iovec(packed);
  Result<void> done = co_await storage_->writev(place->value, IoVec(&whole, 1));
  L2Entry entry{compressed_descriptor(*place, packed.size(), geometry_), 0};
  if (done) {
    Result<TableCache::Ref> slice = co_await get_writable_slice(at);
    if (slice) {
      const std::uint64_t index = format_.entry_index(at);
      const L2Entry old = load_entry(slice->data(), index, geometry_);
      store_entry(slice->data(), index, geometry_, entry);
      slice->mark_dirty();
      drop_entry(old);
      co_return done;
    }
    done = Unexpected(std::move(slice).error());
  }
  (void)co_await allocator_.release(compressed_clusters(entry.descriptor), false);
  co_return done;
}

// Space for `size` bytes, less than a cluster, with a reference to each cluster it touches.
Task<Result<HostOffset>> QcowDisk::allocate_bytes(std::uint64_t size) {
  AsyncMutex::Lock lock = co_await partial_mutex_.lock();
  // A cluster with several users must be able to count them.
  const bool share = geometry_.max_refcount() >= 4;
  if (share && partial_at_ != HostOffset(0) && size <= partial_end_ - partial_at_) {
    const Result<void> raised =
        co_await refcounts_.increase({geometry_.cluster_of(partial_at_), 1});
    if (raised) {
      const HostOffset at = partial_at_;
      partial_at_ = at + size;
      co_return at;
    }
  }
  VMM_CO_TRY(Allocator::Allocation space, co_await allocator_.allocate(1, 1));
  HostOffset at = geometry_.start_of(space.run.first);
  if (at.value + geometry_.cluster_size() > max_compressed_offset(geometry_)) {
    (void)co_await allocator_.release(space.run, false);
    co_return fail(ErrorKind::kNoSpace,
                   "the image file is too large for further compressed clusters of this size");
  }
  if (!share) co_return at;
  const HostOffset end = at + geometry_.cluster_size();
  // Its own reference, beside the data's.
  VMM_CO_CHECK(co_await refcounts_.increase(space.run));
  bool follows = partial_at_ != HostOffset(0) && partial_end_ == at && partial_at_ < at;
  if (follows) {
    const Result<void> raised =
        co_await refcounts_.increase({geometry_.cluster_of(partial_at_), 1});
    follows = raised.has_value();
  }
  const HostOffset start = follows ? partial_at_ : at;
  VMM_CO_CHECK(co_await leave_partial_cluster());
  partial_at_ = start + size;
  partial_end_ = end;
  co_return start;
}

Task<Result<void>> QcowDisk::end_partial_cluster() {
  AsyncMutex::Lock lock = co_await partial_mutex_.lock();
  co_return co_await leave_partial_cluster();
}

// Gives up the reference that kept the cluster from being freed under way. With partial_mutex_
// held.
Task<Result<void>> QcowDisk::leave_partial_cluster() {
  if (partial_at_ == HostOffset(0)) co_return Result<void>();
  const HostRun cluster{geometry_.cluster_of(partial_end_ - 1), 1};
  partial_at_ = partial_end_ = HostOffset(0);
  co_return co_await allocator_.release(cluster, false);
}

Task<Result<void>> QcowDisk::preallocate(std::uint64_t from, bool reserve, bool full) {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  // With a backing file a cluster gets its place, and its subclusters show what is behind them.
  const bool shows = geometry_.extended_l2 && header().backing_file.empty();
  const std::uint64_t first = (from + geometry_.cluster_mask()) & ~geometry_.cluster_mask();
  for (GuestOffset at(first); at.value < size();) {
    VMM_CO_TRY(TableCache::Ref slice, co_await get_writable_slice(at));
    const std::uint64_t end =
        std::min(size(), at.value + to_slice_end(at)) + geometry_.cluster_mask();
    const std::uint64_t wanted = (end - at.value) >> geometry_.cluster_bits;
    HostRun run{HostCluster(at.value >> geometry_.cluster_bits), wanted};
    bool zero = false;
    if (!data_file_) {
      VMM_CO_TRY(Allocator::Allocation space, co_await allocator_.allocate(1, wanted));
      run = space.run;
      zero = space.zero;
    }
    const std::uint64_t start = geometry_.start_of(run.first).value;
    const std::uint64_t bytes = run.count << geometry_.cluster_bits;
    if (full) {
      const AlignedBuffer zeros = AlignedBuffer::zeroed(std::min<std::uint64_t>(bytes, 1 << 20));
      for (std::uint64_t done = 0; done < bytes; done += zeros.size()) {
        iovec part = as_iovec(zeros.bytes().first(std::min(bytes - done, zeros.size())));
        VMM_CO_CHECK(co_await data().writev(start + done, IoVec(&part, 1)));
      }
    } else {
      if (!zero) {
        VMM_CO_CHECK(co_await make_zero(data(), start, bytes));
      }
      if (reserve) {
        VMM_CO_CHECK(co_await data().allocate(start, bytes));
      } else if (data().size() < start + bytes) {
        VMM_CO_CHECK(co_await data().truncate(start + bytes));
      }
    }
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const L2Entry entry{geometry_.start_of(run.first + i).value | kCopied,
                          shows ? 0xffffffffu : 0};
      store_entry(slice.data(), format_.entry_index(at), geometry_, entry);
      at = at + geometry_.cluster_size();
    }
    slice.mark_dirty();
  }
  co_return co_await commit();
}

}  // namespace vmm::disk::qcow
