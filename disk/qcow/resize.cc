// SPDX-License-Identifier: Apache-2.0
// The size of the disk. What lies behind its end may be anything: bytes in the last cluster and in
// a data file, clusters that another program left there (QEMU keeps the machine's state behind the
// disk), a longer backing file. All of it reads as zeros, durably, before the header says that the
// disk reaches further.
#include <fmt/format.h>

#include <algorithm>

#include "disk/qcow/qcow_disk.h"
#include "disk/zeroing.h"

namespace vmm::disk::qcow {

Result<void> QcowDisk::check_new_size(std::uint64_t size) const {
  if (size % 512 != 0) {
    return fail(ErrorKind::kInvalid, fmt::format("the size {} is not a multiple of 512", size));
  }
  if (header().version < 3 && !snapshots_.empty()) {
    return fail(ErrorKind::kUnsupported,
                "an image of compat 0.10 with snapshots cannot change its size");
  }
  if (Header::l1_entries_for(geometry_, size) > kMaxL1Bytes / 8) {
    return fail(ErrorKind::kInvalid, fmt::format("a size of {} bytes needs larger clusters than {}",
                                                 size, geometry_.cluster_size()));
  }
  if (data_file_ && !data_file_->fresh_is_zero() && size > data_file_->size()) {
    return fail(ErrorKind::kNoSpace,
                fmt::format("the data file is a block device of {} bytes", data_file_->size()));
  }
  return {};
}

Task<Result<void>> QcowDisk::resize(std::uint64_t new_size) {
  AsyncMutex::Lock alone = co_await maintenance_.lock();
  VMM_CO_CHECK(check_maintenance());
  VMM_CO_CHECK(check_new_size(new_size));
  VMM_CO_CHECK(co_await end_partial_cluster());
  VMM_CO_CHECK(co_await settle());
  if (new_size < size()) {
    VMM_CO_CHECK(co_await shrink(new_size));
  } else if (new_size > size()) {
    VMM_CO_CHECK(co_await grow(new_size));
  }
  co_return co_await settle();
}

Task<Result<void>> QcowDisk::set_size(std::uint64_t size) {
  const HeaderFile::Change change = [size](Header& header) { header.size = size; };
  VMM_CO_CHECK(co_await header_.update(change));
  size_ = size;
  co_return Result<void>();
}

Task<Result<void>> QcowDisk::shrink(std::uint64_t new_size) {
  const std::uint64_t mask = geometry_.cluster_mask();
  const std::uint64_t old_size = size();
  // The rest of the last cluster must not come back when another program makes the disk grow again.
  const std::uint64_t rest = std::min((new_size + mask) & ~mask, old_size) - new_size;
  if (rest > 0) {
    VMM_CO_CHECK(co_await zero_range(GuestOffset(new_size), GuestOffset(new_size + rest),
                                     ZeroMode::kKeepAllocated));
    VMM_CO_CHECK(co_await settle());
  }
  VMM_CO_CHECK(co_await set_size(new_size));
  // Only now: until the header is durable the disk is as long as it was, and holds what it held.
  VMM_CO_CHECK(co_await forget_clusters(GuestOffset((new_size + mask) & ~mask),
                                        GuestOffset((old_size + mask) & ~mask)));
  if (data_file_ && data_file_->size() > new_size) {
    VMM_CO_CHECK(co_await data_file_->truncate(new_size));
  }
  co_return Result<void>();
}

Task<Result<void>> QcowDisk::grow(std::uint64_t new_size) {
  const std::uint64_t needed = Header::l1_entries_for(geometry_, new_size);
  if (needed > l1_.size()) {
    VMM_CO_CHECK(co_await grow_l1(needed));
  }
  if (data_file_ && data_file_->size() < new_size) {
    VMM_CO_CHECK(co_await data_file_->truncate(new_size));
  }
  const std::uint64_t old_size = std::exchange(size_, new_size);  // so that it can be written to
  Result<void> done = co_await zero_new_part(old_size);
  if (done) done = co_await settle();
  if (done) done = co_await set_size(new_size);
  if (!done) size_ = header().size;
  co_return done;
}

// The same entries at a new place with room for more.
Task<Result<void>> QcowDisk::grow_l1(std::uint64_t entries) {
  std::vector<std::uint64_t> longer = l1_.entries();
  longer.resize(entries, 0);
  VMM_CO_TRY(HostOffset at, co_await write_new_l1(longer, header().size));
  // What is in memory counts, and is written there once more: it may be newer than the copy.
  l1_.resize(entries);
  l1_.move_to(at);
  co_return Result<void>();
}

Task<Result<void>> QcowDisk::zero_new_part(std::uint64_t from) {
  const std::uint64_t mask = geometry_.cluster_mask();
  const GuestOffset end(size_);
  // A raw data file is the disk, whatever the entries say.
  if (data_file_ && header().has(Autoclear::kRawDataFile)) {
    VMM_CO_CHECK(co_await make_zero(*data_file_, from, size_ - from));
  }
  const GuestOffset whole((from + mask) & ~mask);  // clusters that are new as a whole
  const GuestOffset rest_end = std::min(whole, end);
  if (GuestOffset(from) < rest_end) {
    VMM_CO_CHECK(co_await zero_range(GuestOffset(from), rest_end, ZeroMode::kKeepAllocated));
  }
  const GuestOffset shown(backing_ ? std::min(backing_->size(), size_) : 0);
  GuestOffset rest = whole;
  if (whole < shown) {
    rest = GuestOffset((shown.value + mask) & ~mask);
    if (format_.zero_flag) {
      VMM_CO_CHECK(co_await zero_clusters(whole, rest, Zeroing::kZeroFree));
    } else {
      // Version 2 cannot say that something reads as zeros while a backing file has data there.
      VMM_CO_CHECK(co_await write_zero_bytes(whole, shown - whole));
    }
  }
  co_return co_await forget_clusters(rest, GuestOffset((end.value + mask) & ~mask));
}

// Entries that say something say nothing afterwards, and what they referred to is free.
Task<Result<void>> QcowDisk::forget_clusters(GuestOffset from, GuestOffset to) {
  while (from < to) {
    VMM_CO_TRY(Table table, table_for(from));
    if (table.offset == HostOffset(0)) {
      from = GuestOffset((from.value | (geometry_.l2_coverage() - 1)) + 1);
      continue;
    }
    const std::uint64_t length = std::min(to - from, to_slice_end(from));
    const std::uint64_t first = format_.entry_index(from);
    const std::uint64_t last = first + ((length - 1) >> geometry_.cluster_bits);
    const auto is_empty = [&](const TableCache::Ref& slice) {
      for (std::uint64_t i = first; i <= last; ++i) {
        if (load_entry(slice.data(), i, geometry_) != L2Entry()) return false;
      }
      return true;
    };
    VMM_CO_TRY(TableCache::Ref slice, co_await get_slice(from));
    if (!is_empty(slice)) {
      VMM_CO_TRY(slice, co_await get_writable_slice(from));
      for (std::uint64_t i = first; i <= last; ++i) {
        const L2Entry old = load_entry(slice.data(), i, geometry_);
        if (old == L2Entry()) continue;
        store_entry(slice.data(), i, geometry_, L2Entry());
        drop_entry(old);
      }
      slice.mark_dirty();
    }
    from = from + length;
  }
  co_return Result<void>();
}

}  // namespace vmm::disk::qcow
