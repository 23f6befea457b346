// SPDX-License-Identifier: Apache-2.0
// From a guest offset to the slice of the L2 table that speaks of it.
#include <fmt/format.h>

#include "disk/qcow/qcow_disk.h"

namespace vmm::disk::qcow {

// image-controlled
Result<QcowDisk::Table> QcowDisk::table_for(GuestOffset at) const {
  const std::uint64_t index = at.value >> (geometry_.l2_bits() + geometry_.cluster_bits);
  const std::uint64_t entry = l1_[index];
  const std::uint64_t offset = entry & kOffsetMask;
  if (offset == 0) return Table{};
  if (!geometry_.is_cluster_aligned(offset) || offset >= storage_->size()) {
    return fail(ErrorKind::kCorrupt,
                fmt::format("L1 entry {} is {:#x}: no L2 table can be there", index, entry));
  }
  return Table{HostOffset(offset), (entry & kCopied) != 0};
}

TableCache::Ref QcowDisk::find_slice(GuestOffset at) {
  const std::uint64_t entry = l1_[at.value >> (geometry_.l2_bits() + geometry_.cluster_bits)];
  const std::uint64_t offset = entry & kOffsetMask;
  // What is wrong with an entry, get_slice() says: the cache never holds such a slice.
  if (offset == 0 || !geometry_.is_cluster_aligned(offset)) return {};
  return l2_.find(HostOffset(offset + format_.slice_start(at)));
}

Task<Result<TableCache::Ref>> QcowDisk::get_slice(GuestOffset at) {
  Result<Table> table = table_for(at);
  if (!table) co_return Unexpected(std::move(table).error());
  if (table->offset == HostOffset(0)) co_return TableCache::Ref();
  const HostOffset slice = table->offset + format_.slice_start(at);
  VMM_CO_CHECK(check_slice(slice));
  co_return co_await l2_.get(slice);
}

Task<Result<TableCache::Ref>> QcowDisk::get_writable_slice(GuestOffset at) {
  Result<Table> table = table_for(at);
  if (!table) co_return Unexpected(std::move(table).error());
  if (!table->writable) {
    VMM_CO_CHECK(
        co_await make_table_writable(at.value >> (geometry_.l2_bits() + geometry_.cluster_bits)));
    table = table_for(at);
    if (!table) co_return Unexpected(std::move(table).error());
  }
  const HostOffset slice = table->offset + format_.slice_start(at);
  if (TableCache::Ref hit = l2_.find(slice)) co_return hit;
  VMM_CO_CHECK(check_slice(slice));
  co_return co_await l2_.get(slice);
}

// Tables are written as a whole: where the file ends inside one, it was cut off.
Result<void> QcowDisk::check_slice(HostOffset slice) const {
  if (slice.value < storage_->size()) return {};
  return fail(ErrorKind::kCorrupt,
              fmt::format("the L2 table at {:#x} lies beyond the file's end, which was cut off",
                          slice.value & ~geometry_.cluster_mask()));
}

// Gives the L1 entry a table of its own: a new one, or a copy of the one it shares with snapshots.
// The table is on its way to the file as a whole before the L1 entry exists even in memory, so the
// entry may reach the file in any commit from then on.
Task<Result<void>> QcowDisk::make_table_writable(std::uint64_t l1_index) {
  AsyncMutex::Lock lock = co_await table_mutex_.lock();
  const GuestOffset at(l1_index << (geometry_.l2_bits() + geometry_.cluster_bits));
  VMM_CO_TRY(Table old, table_for(at));
  if (old.writable) co_return Result<void>();  // somebody was quicker
  VMM_CO_TRY(Allocator::Allocation place, co_await allocator_.allocate(1, 1));
  const HostOffset offset = geometry_.start_of(place.run.first);
  l2_.drop(offset, geometry_.cluster_size());

  AlignedBuffer bytes = AlignedBuffer::zeroed(geometry_.cluster_size());
  Result<void> done;
  if (old.offset != HostOffset(0)) done = co_await copy_table(old.offset, bytes);
  if (done) {
    iovec whole = bytes.as_iovec();
    done = co_await storage_->writev(offset.value, IoVec(&whole, 1));
  }
  if (!done) {
    (void)co_await allocator_.release(place.run, false);
    co_return Unexpected(
        std::move(done).error().with_context(fmt::format("new L2 table at {:#x}", offset.value)));
  }
  metadata_.add(place.run, MetadataKind::kL2Table);
  l1_.set(l1_index, offset.value | kCopied);
  if (old.offset != HostOffset(0)) drop_reference({geometry_.cluster_of(old.offset), 1});
  co_return Result<void>();
}

// A table that is shared is never dirty, so the file has it as it is.
Task<Result<void>> QcowDisk::copy_table(HostOffset from, AlignedBuffer& to) {
  iovec whole = to.as_iovec();
  VMM_CO_CHECK(co_await storage_->readv(from.value, IoVec(&whole, 1)));
  // Its clusters are shared too, whatever the entries say; but for those of a data file, which are
  // nobody else's, and where COPIED is all that tells offset 0 from none.
  for (std::uint64_t i = 0; i < geometry_.l2_entries() && !data_file_; ++i) {
    L2Entry entry = load_entry(to.data(), i, geometry_);
    entry.descriptor &= ~kCopied;
    store_entry(to.data(), i, geometry_, entry);
  }
  co_return Result<void>();
}

}  // namespace vmm::disk::qcow
