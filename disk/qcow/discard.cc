// SPDX-License-Identifier: Apache-2.0
// Discarding and zeroing: changes of L2 entries, and no data where that can be avoided.
#include <algorithm>

#include "disk/checks.h"
#include "disk/qcow/qcow_disk.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kAllZero = std::uint64_t{0xffffffff} << 32;  // an extended entry's bitmap
constexpr std::uint64_t kZeroBytes = 1 << 20;                        // written at once

}  // namespace

Task<Result<void>> QcowDisk::discard(std::uint64_t offset, std::uint64_t length) {
  VMM_CO_CHECK(check_writable(*this, offset, length));
  if (corrupt_) co_return fail(ErrorKind::kCorrupt, "the image is marked corrupt");
  // Advice: version 2 cannot say that something reads as zeros while a backing file has data there.
  if (!options_.discard || (!format_.zero_flag && has_backing())) co_return Result<void>();
  const GuestOffset end(offset + length);
  const std::uint64_t mask = geometry_.cluster_mask();
  const GuestOffset from((offset + mask) & ~mask);
  // The last cluster may be shorter than others.
  const GuestOffset to(end.value == size() ? (end.value + mask) & ~mask : end.value & ~mask);
  if (from >= to) co_return Result<void>();
  Result<void> done = co_await zero_clusters(from, to, Zeroing::kDiscard);
  if (done || done.error().kind() != ErrorKind::kNoSpace) co_return done;
  const bool has_space = co_await make_space();
  if (has_space) done = co_await zero_clusters(from, to, Zeroing::kDiscard);
  co_return done;
}

Task<Result<void>> QcowDisk::write_zeroes(std::uint64_t offset, std::uint64_t length,
                                          ZeroMode mode) {
  VMM_CO_CHECK(check_writable(*this, offset, length));
  if (corrupt_) co_return fail(ErrorKind::kCorrupt, "the image is marked corrupt");
  if (length == 0) co_return Result<void>();
  const GuestOffset at(offset);
  const GuestOffset end(offset + length);
  Result<void> done = co_await zero_range(at, end, mode);
  if (done || done.error().kind() != ErrorKind::kNoSpace) co_return done;
  const bool has_space = co_await make_space();
  if (has_space) done = co_await zero_range(at, end, mode);
  co_return done;
}

Task<Result<void>> QcowDisk::zero_range(GuestOffset at, GuestOffset end, ZeroMode mode) {
  const std::uint64_t length = end - at;
  if (!format_.zero_flag && has_backing()) co_return co_await write_zero_bytes(at, length);
  const std::uint64_t mask = geometry_.cluster_mask();
  const GuestOffset from((at.value + mask) & ~mask);
  const GuestOffset to(end.value == size() ? (end.value + mask) & ~mask : end.value & ~mask);
  if (from >= to) {
    VMM_CO_TRY(bool zero, co_await already_zero(at, end));
    if (zero) co_return Result<void>();
    co_return co_await write_zero_bytes(at, length);
  }
  if (at < from) {
    VMM_CO_TRY(bool zero, co_await already_zero(at, from));
    if (!zero) {
      VMM_CO_CHECK(co_await write_zero_bytes(at, from - at));
    }
  }
  if (to < end) {
    VMM_CO_TRY(bool zero, co_await already_zero(to, end));
    if (!zero) {
      VMM_CO_CHECK(co_await write_zero_bytes(to, end - to));
    }
  }
  const bool free = mode == ZeroMode::kMayUnmap && options_.discard;
  co_return co_await zero_clusters(from, to, free ? Zeroing::kZeroFree : Zeroing::kZeroKeep);
}

// Whole clusters. Entries change between two awaits, so no Change is needed; clusters that others
// are changing are waited for.
Task<Result<void>> QcowDisk::zero_clusters(GuestOffset from, GuestOffset to, Zeroing how) {
  if (data_file_) {
    // A raw data file must read the same without the entries.
    const std::uint64_t length = std::min(to.value, size()) - from.value;
    if (header().has(Autoclear::kRawDataFile)) {
      VMM_CO_CHECK(co_await data_file_->write_zeroes(from.value, length));
    } else if (how != Zeroing::kZeroKeep) {
      VMM_CO_CHECK(co_await data_file_->punch(from.value, length));
    }
  }
  while (from < to) {
    VMM_CO_TRY(Table table, table_for(from));
    if (table.offset == HostOffset(0) && !has_backing()) {
      // Nothing is there, and it reads as zeros already.
      from = GuestOffset((from.value | (geometry_.l2_coverage() - 1)) + 1);
      continue;
    }
    VMM_CO_TRY(TableCache::Ref slice, co_await get_writable_slice(from));
    const std::uint64_t first = from.value >> geometry_.cluster_bits;
    std::uint64_t end = first + (std::min(to - from, to_slice_end(from)) >> geometry_.cluster_bits);
    if (Change* change = Change::find(changes_, first, end)) {
      if (change->first() <= first) {
        co_await change->over();
        continue;
      }
      end = change->first();
    }
    bool changed = false;
    for (std::uint64_t cluster = first; cluster < end; ++cluster) {
      const std::uint64_t index =
          format_.entry_index(GuestOffset(cluster << geometry_.cluster_bits));
      const L2Entry old = load_entry(slice.data(), index, geometry_);
      L2Entry entry = old;
      if (!zero_entry(entry, how)) continue;
      store_entry(slice.data(), index, geometry_, entry);
      if (entry.offset() != old.offset() || old.compressed()) drop_entry(old);
      changed = true;
    }
    if (changed) slice.mark_dirty();
    from = GuestOffset(end << geometry_.cluster_bits);
  }
  co_return Result<void>();
}

// Makes the entry read as zeros; false where it need not change.
bool QcowDisk::zero_entry(L2Entry& entry, Zeroing how) const {
  const L2Entry old = entry;
  const bool has_host = !old.compressed() && classify(old, 0, format_).allocated;
  // What stays in place: a cluster of our own that is to be kept, and all of a data file. Version 2
  // cannot say that a cluster is there and reads as zeros.
  const bool keep =
      has_host && old.copied() && format_.zero_flag && (how == Zeroing::kZeroKeep || data_file_);
  if (geometry_.extended_l2) {
    entry.descriptor = keep ? old.descriptor : 0;
    entry.bitmap = has_backing() || keep ? kAllZero : 0;
  } else if (keep) {
    entry.descriptor = old.descriptor | kZeroFlag;
  } else {
    // Without a backing file what is unallocated reads as zeros.
    entry.descriptor = has_backing() ? kZeroFlag : 0;
  }
  const bool was_zero_already = old.descriptor == kZeroFlag && !geometry_.extended_l2;
  return entry != old && !was_zero_already;
}

Task<Result<void>> QcowDisk::write_zero_bytes(GuestOffset at, std::uint64_t length) {
  AlignedBuffer zeros = AlignedBuffer::zeroed(std::min(length, kZeroBytes));
  while (length > 0) {
    iovec part{zeros.data(), std::min<std::uint64_t>(length, zeros.size())};
    VMM_CO_CHECK(co_await write_parts(at, IoVec(&part, 1)));
    at = at + part.iov_len;
    length -= part.iov_len;
  }
  co_return Result<void>();
}

Task<Result<bool>> QcowDisk::already_zero(GuestOffset from, GuestOffset to) {
  while (from < to) {
    VMM_CO_TRY(TableCache::Ref slice, co_await get_slice(from));
    const std::uint64_t part = std::min(to - from, to_slice_end(from));
    if (slice ? !reads_as_zero(slice.data(), from, from + part)
              : backing_ && from.value < backing_->size()) {
      co_return false;
    }
    from = from + part;
  }
  co_return true;
}

}  // namespace vmm::disk::qcow
