// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow1/qcow1_disk.h"

#include <fmt/core.h>

#include <algorithm>

#include "disk/checks.h"
#include "disk/qcow/compressed.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow1 {
namespace {

constexpr std::uint64_t kMaxSlice = 4096;        // bytes
constexpr std::uint64_t kMaxL2Cache = 32 << 20;  // bytes, unless asked for more
constexpr std::uint64_t kMinSlices = 8;
constexpr std::uint64_t kZeroChunk = 1 << 20;  // bytes of zeros written at once

std::uint64_t slice_size(const Header& header) {
  return std::min(kMaxSlice, header.l2_bytes());
}

std::size_t nr_slices(const Header& header, const Options& options) {
  const std::uint64_t needed = header.l1_entries() * header.l2_bytes();
  const std::uint64_t bytes =
      options.l2_cache_size != 0 ? options.l2_cache_size : std::min(needed, kMaxL2Cache);
  return std::max(kMinSlices, bytes / slice_size(header));
}

std::uint64_t entry_at(const qcow::TableCache::Ref& slice, std::uint64_t index) {
  return load_be<std::uint64_t>(slice.data() + index * 8);
}

bool is_plain(std::uint64_t entry) {
  return entry != 0 && (entry & kCompressed) == 0;
}

std::vector<iovec> part_of(IoVec iov, std::uint64_t skip, std::uint64_t length) {
  std::vector<iovec> part;
  append_slice(iov, skip, length, part);
  return part;
}

}  // namespace

Qcow1Disk::Qcow1Disk(EventLoop& loop, std::unique_ptr<Storage> storage, Header header,
                     std::unique_ptr<Disk> backing, Options options)
    : storage_(std::move(storage)),
      header_(std::move(header)),
      backing_(std::move(backing)),
      options_(options),
      l2_(loop, *storage_, "L2 table", static_cast<std::uint32_t>(slice_size(header_)),
          nr_slices(header_, options_), this),
      end_(storage_->size()),
      allocating_(loop),
      committing_(loop) {
}

Task<Result<std::unique_ptr<Qcow1Disk>>> Qcow1Disk::open(EventLoop& loop,
                                                         std::unique_ptr<Storage> storage,
                                                         Header header,
                                                         std::unique_ptr<Disk> backing,
                                                         Options options) {
  std::unique_ptr<Qcow1Disk> disk(
      new Qcow1Disk(loop, std::move(storage), std::move(header), std::move(backing), options));
  VMM_CO_CHECK(co_await disk->load());
  co_return disk;
}

Task<Result<void>> Qcow1Disk::load() {
  l1_.resize(header_.l1_entries());
  iovec whole{l1_.data(), l1_.size() * 8};
  Result<void> read = co_await storage_->readv(header_.l1_offset, IoVec(&whole, 1));
  if (!read) co_return Unexpected(std::move(read).error().with_context("L1 table"));
  for (std::uint64_t& entry : l1_) entry = load_be<std::uint64_t>(&entry);
  co_return Result<void>();
}

std::uint64_t Qcow1Disk::allocate(std::uint64_t bytes) {
  const std::uint64_t cluster = header_.cluster_size();
  const std::uint64_t at = (end_ + cluster - 1) / cluster * cluster;
  end_ = at + bytes;
  return at;
}

Task<Result<Qcow1Disk::Place>> Qcow1Disk::find(std::uint64_t offset) {
  const std::uint64_t l1_index = offset / header_.l2_coverage();
  const std::uint64_t table = l1_[l1_index];
  const std::uint64_t byte = (offset >> header_.cluster_bits << 3) & (header_.l2_bytes() - 1);
  const std::uint64_t in_slice = byte & (slice_size(header_) - 1);
  Place place;
  place.index = in_slice / 8;
  place.nr = (slice_size(header_) - in_slice) / 8;
  if (table == 0) co_return place;
  // image-controlled
  if (table % 512 != 0 || table >= end_) {
    co_return fail(ErrorKind::kCorrupt,
                   fmt::format("L1 entry {} is {:#x}: no L2 table can be there", l1_index, table));
  }
  const qcow::HostOffset slice(table + byte - in_slice);
  place.slice = l2_.find(slice);
  if (!place.slice) {
    VMM_CO_TRY(place.slice, co_await l2_.get(slice));
  }
  // image-controlled. The header is nobody's cluster.
  const std::uint64_t entry = entry_at(place.slice, place.index);
  if (is_plain(entry) && (entry % 512 != 0 || entry >= end_)) {
    co_return fail(ErrorKind::kCorrupt,
                   fmt::format("the L2 entry for guest offset {:#x} is {:#x}: no cluster can be "
                               "there",
                               offset, entry));
  }
  co_return place;
}

// With allocating_ held.
Task<Result<Qcow1Disk::Place>> Qcow1Disk::find_or_make(std::uint64_t offset) {
  const std::uint64_t l1_index = offset / header_.l2_coverage();
  if (l1_[l1_index] == 0) {
    const std::uint64_t at = allocate(header_.l2_bytes());
    const AlignedBuffer zeros = AlignedBuffer::zeroed(header_.l2_bytes());
    iovec whole = as_iovec(zeros.bytes());
    VMM_CO_CHECK(co_await storage_->writev(at, IoVec(&whole, 1)));
    l1_[l1_index] = at;
    dirty_l1_.insert(l1_index);
  }
  co_return co_await find(offset);
}

Task<Result<Extent>> Qcow1Disk::extent_at(std::uint64_t offset) {
  VMM_CO_TRY(const Place place, co_await find(offset));
  const std::uint64_t cluster = header_.cluster_size();
  const std::uint64_t first = place.slice ? entry_at(place.slice, place.index) : 0;
  Extent extent;
  extent.allocated = first != 0;
  extent.compressed = (first & kCompressed) != 0;
  if (is_plain(first)) extent.offset = first + in_cluster(offset);
  std::uint64_t nr = 1;
  if (!place.slice) nr = place.nr;
  while (place.slice && !extent.compressed && nr < place.nr) {
    const std::uint64_t next = entry_at(place.slice, place.index + nr);
    if (next != (first == 0 ? 0 : first + nr * cluster) || next >= end_) break;
    ++nr;
  }
  extent.length = std::min(size() - offset, nr * cluster - in_cluster(offset));
  co_return extent;
}

Task<Result<void>> Qcow1Disk::read_backing(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  const std::uint64_t there =
      !backing_ || offset >= backing_->size() ? 0 : std::min(length, backing_->size() - offset);
  fill(iov, there, length - there, std::byte{0});
  if (there == 0) co_return Result<void>();
  const std::vector<iovec> part = part_of(iov, 0, there);
  co_return co_await backing_->readv(offset, part);
}

Task<Result<void>> Qcow1Disk::read_compressed(std::uint64_t entry, std::uint64_t skip, IoVec iov) {
  const std::uint64_t at = entry & (header_.compressed_offsets() - 1);
  const std::uint64_t packed_size =
      entry >> (63 - header_.cluster_bits) & (header_.cluster_size() - 1);
  AlignedBuffer packed(packed_size);
  AlignedBuffer cluster(header_.cluster_size());
  iovec whole = packed.as_iovec();
  VMM_CO_CHECK(co_await storage_->readv(at, IoVec(&whole, 1)));
  Result<void> unpacked =
      qcow::decompress(qcow::CompressionType::kZlib, packed.bytes(), cluster.bytes());
  if (!unpacked) {
    co_return Unexpected(
        std::move(unpacked).error().with_context(fmt::format("compressed cluster at {:#x}", at)));
  }
  copy_to_iovec(cluster.bytes().subspan(skip, total_size(iov)), iov, 0);
  co_return Result<void>();
}

Task<Result<void>> Qcow1Disk::readv(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  VMM_CO_CHECK(check_range(*this, offset, length));
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t at = offset + done;
    VMM_CO_TRY(const Extent extent, co_await extent_at(at));
    const std::uint64_t part_size = std::min(extent.length, length - done);
    const std::vector<iovec> part = part_of(iov, done, part_size);
    if (!extent.allocated) {
      VMM_CO_CHECK(co_await read_backing(at, part));
    } else if (extent.compressed) {
      VMM_CO_TRY(const Place place, co_await find(at));
      const std::uint64_t entry = entry_at(place.slice, place.index);
      // It may have been written to meanwhile; then the next look finds it elsewhere.
      if ((entry & kCompressed) == 0) continue;
      VMM_CO_CHECK(co_await read_compressed(entry, in_cluster(at), part));
    } else {
      VMM_CO_CHECK(co_await storage_->readv(extent.offset, part));
    }
    done += part_size;
  }
  co_return Result<void>();
}

Task<Result<void>> Qcow1Disk::writev(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  VMM_CO_CHECK(check_writable(*this, offset, length));
  if (options_.detect_zeroes && is_zero(iov)) {
    co_return co_await write_zeroes(offset, length, ZeroMode::kMayUnmap);
  }
  for (std::uint64_t done = 0; done < length;) {
    const std::vector<iovec> rest = part_of(iov, done, length - done);
    VMM_CO_CHECK(co_await write_once(offset + done, rest, done));
  }
  co_return Result<void>();
}

// Writes as much from the start of `iov` as can be treated alike, and adds that to `done`.
Task<Result<void>> Qcow1Disk::write_once(std::uint64_t offset, IoVec iov, std::uint64_t& done) {
  const std::uint64_t length = total_size(iov);
  VMM_CO_TRY(const Extent extent, co_await extent_at(offset));
  if (extent.allocated && !extent.compressed) {
    const std::uint64_t size = std::min(extent.length, length);
    const std::vector<iovec> part = part_of(iov, 0, size);
    end_ = std::max(end_, extent.offset + size);  // the file may end inside the cluster
    VMM_CO_CHECK(co_await storage_->writev(extent.offset, part));
    done += size;
    co_return Result<void>();
  }
  const AsyncMutex::Lock lock = co_await allocating_.lock();
  VMM_CO_TRY(Place place, co_await find_or_make(offset));
  const std::uint64_t wanted =
      (in_cluster(offset) + length + header_.cluster_size() - 1) >> header_.cluster_bits;
  std::uint64_t nr = 0;
  while (nr < std::min(wanted, place.nr) && !is_plain(entry_at(place.slice, place.index + nr))) {
    ++nr;
  }
  if (nr == 0) co_return Result<void>();  // somebody else was faster: look again
  const std::uint64_t size = std::min(length, nr * header_.cluster_size() - in_cluster(offset));
  const std::vector<iovec> part = part_of(iov, 0, size);
  VMM_CO_CHECK(co_await write_new(place, offset, part, nr));
  done += size;
  co_return Result<void>();
}

// Gives `nr_clusters` entries new clusters, with `iov` and what was around it in the first and the
// last one. With allocating_ held.
Task<Result<void>> Qcow1Disk::write_new(Place& place, std::uint64_t offset, IoVec iov,
                                        std::uint64_t nr_clusters) {
  const std::uint64_t cluster = header_.cluster_size();
  const std::uint64_t start = offset - in_cluster(offset);
  const std::uint64_t end = offset + total_size(iov);
  AlignedBuffer before = AlignedBuffer::zeroed(offset - start);
  AlignedBuffer after = AlignedBuffer::zeroed(start + nr_clusters * cluster - end);
  if (before.size() != 0) {
    iovec whole = before.as_iovec();
    VMM_CO_CHECK(co_await readv(start, IoVec(&whole, 1)));
  }
  if (after.size() != 0 && end < size()) {
    iovec whole{after.data(), std::min<std::uint64_t>(after.size(), size() - end)};
    VMM_CO_CHECK(co_await readv(end, IoVec(&whole, 1)));
  }
  std::vector<iovec> all;
  if (before.size() != 0) all.push_back(before.as_iovec());
  append_slice(iov, 0, total_size(iov), all);
  if (after.size() != 0) all.push_back(after.as_iovec());
  const std::uint64_t at = allocate(nr_clusters * cluster);
  VMM_CO_CHECK(co_await storage_->writev(at, all));
  for (std::uint64_t i = 0; i < nr_clusters; ++i) {
    store_be<std::uint64_t>(place.slice.data() + (place.index + i) * 8, at + i * cluster);
  }
  place.slice.mark_dirty();
  co_return Result<void>();
}

Task<Result<void>> Qcow1Disk::discard(std::uint64_t offset, std::uint64_t length) {
  co_return check_writable(*this, offset, length);
}

Task<Result<void>> Qcow1Disk::write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode) {
  VMM_CO_CHECK(check_writable(*this, offset, length));
  AlignedBuffer zeros;
  const std::uint64_t backed = backing_ ? backing_->size() : 0;
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t at = offset + done;
    VMM_CO_TRY(const Extent extent, co_await extent_at(at));
    std::uint64_t part = std::min(extent.length, length - done);
    if (extent.allocated || at < backed) {
      part = std::min(part, kZeroChunk);
      if (!zeros) zeros = AlignedBuffer::zeroed(std::min(length, kZeroChunk));
      iovec whole = as_iovec(zeros.bytes().first(part));
      std::uint64_t written = 0;
      while (written < part) {
        whole.iov_len = part - written;
        VMM_CO_CHECK(co_await write_once(at + written, IoVec(&whole, 1), written));
      }
    }
    done += part;
  }
  co_return Result<void>();
}

Task<Result<void>> Qcow1Disk::write_compressed(std::uint64_t offset,
                                               std::span<const std::byte> packed, IoVec cluster) {
  VMM_CO_CHECK(check_writable(*this, offset, total_size(cluster)));
  if (packed.empty() || packed.size() >= header_.cluster_size() ||
      end_ + packed.size() > header_.compressed_offsets()) {
    co_return co_await writev(offset, cluster);
  }
  const AsyncMutex::Lock lock = co_await allocating_.lock();
  VMM_CO_TRY(Place place, co_await find_or_make(offset));
  const std::uint64_t at = end_;
  end_ += packed.size();
  iovec whole = as_iovec(packed);
  VMM_CO_CHECK(co_await storage_->writev(at, IoVec(&whole, 1)));
  store_be<std::uint64_t>(place.slice.data() + place.index * 8,
                          kCompressed | packed.size() << (63 - header_.cluster_bits) | at);
  place.slice.mark_dirty();
  co_return Result<void>();
}

Task<Result<void>> Qcow1Disk::write_tables(qcow::TableCache::Batch batch,
                                           const std::set<std::uint64_t>& l1) {
  Result<void> synced = co_await storage_->sync();
  if (!synced) {
    l2_.put_back(std::move(batch));
    co_return synced;
  }
  if (!batch.empty()) {
    VMM_CO_CHECK(co_await l2_.write(std::move(batch)));
    VMM_CO_CHECK(co_await storage_->sync());
  }
  if (l1.empty()) co_return Result<void>();
  // Entry by entry: the bytes around the table are not ours.
  for (std::uint64_t index : l1) {
    Be64 value = l1_[index];
    iovec whole{&value, sizeof value};
    VMM_CO_CHECK(co_await storage_->writev(header_.l1_offset + index * 8, IoVec(&whole, 1)));
  }
  co_return co_await storage_->sync();
}

Task<Result<void>> Qcow1Disk::commit() {
  const AsyncMutex::Lock lock = co_await committing_.lock();
  // Entries that change from here on may point to what the next sync does not cover.
  qcow::TableCache::Batch batch = l2_.take_dirty();
  std::set<std::uint64_t> l1;
  l1.swap(dirty_l1_);
  Result<void> written = co_await write_tables(std::move(batch), l1);
  if (!written) dirty_l1_.merge(l1);
  co_return written;
}

Task<Result<void>> Qcow1Disk::make_empty() {
  VMM_CO_CHECK(check_writable(*this, 0, 0));
  VMM_CO_CHECK(co_await commit());
  const AsyncMutex::Lock lock = co_await allocating_.lock();
  const std::uint64_t tables_end = header_.l1_offset + (l1_.size() * 8 + 511) / 512 * 512;
  for (std::uint64_t index = 0; index < l1_.size(); ++index) {
    if (l1_[index] == 0) continue;
    l2_.drop(qcow::HostOffset(l1_[index]), header_.l2_bytes());
    l1_[index] = 0;
    dirty_l1_.insert(index);
  }
  VMM_CO_CHECK(co_await commit());
  // Only now is nothing left that points there.
  end_ = std::min(end_, tables_end);
  co_return co_await storage_->truncate(end_);
}

Task<Result<void>> Qcow1Disk::flush() {
  if (read_only()) co_return Result<void>();
  co_return co_await commit();
}

Task<Result<void>> Qcow1Disk::close() {
  co_return co_await flush();
}

}  // namespace vmm::disk::qcow1
