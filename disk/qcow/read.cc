// SPDX-License-Identifier: Apache-2.0
// Reading: look up where the bytes are, and send each piece on its way.
#include <fmt/format.h>

#include <algorithm>

#include "disk/checks.h"
#include "disk/qcow/compressed.h"
#include "disk/qcow/qcow_disk.h"

namespace vmm::disk::qcow {

// The pieces of one request that are under way.
struct QcowDisk::Parts {
  std::vector<std::vector<iovec>> iovs;
  std::vector<Task<Result<void>>> tasks;

  Task<Result<void>> finish() {
    Result<void> all;
    for (Task<Result<void>>& task : tasks) {
      Result<void> one = co_await task;
      if (!one && all) all = std::move(one);
    }
    co_return all;
  }
};

Task<Result<void>> QcowDisk::readv(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  if (!in_range(*this, offset, length)) co_return check_range(*this, offset, length);
  // Most requests lie in one piece, and their slice is in memory.
  const GuestOffset at(offset);
  if (length > 0) {
    if (TableCache::Ref slice = find_slice(at)) {
      const Mapping mapping = map_slice(slice.data(), format_, at, length);
      if (mapping.kind == MappingKind::kData && mapping.length == length) {
        VMM_CO_CHECK(check_there(mapping.host, length));
        Passages::Pass pass(passages_);
        co_return co_await data().readv(mapping.host.value, iov);
      }
    }
  }
  co_return co_await read_parts(at, iov);
}

Task<Result<void>> QcowDisk::read_parts(GuestOffset at, IoVec iov) {
  std::uint64_t left = total_size(iov);
  IovecCursor cursor(iov);
  Parts parts;
  Result<void> looked_up;
  while (left > 0) {
    Result<TableCache::Ref> slice = co_await get_slice(at);
    if (!slice) {
      looked_up = Unexpected(std::move(slice).error());
      break;
    }
    std::uint64_t in_slice = std::min(left, to_slice_end(at));
    left -= in_slice;
    while (in_slice > 0) {
      Mapping mapping;  // without a table: unallocated
      mapping.length = in_slice;
      if (*slice) mapping = map_slice(slice->data(), format_, at, in_slice);
      std::vector<iovec> piece;
      cursor.take(mapping.length, piece);
      start_read(mapping, at, std::move(piece), parts);
      at = at + mapping.length;
      in_slice -= mapping.length;
    }
  }
  Result<void> read = co_await parts.finish();
  co_return looked_up ? std::move(read) : std::move(looked_up);
}

void QcowDisk::start_read(const Mapping& mapping, GuestOffset at, std::vector<iovec> iov,
                          Parts& parts) {
  parts.iovs.push_back(std::move(iov));
  const IoVec piece = parts.iovs.back();  // the list may move, its elements do not
  switch (mapping.kind) {
    case MappingKind::kData:
      parts.tasks.push_back(read_data(mapping.host, piece));
      break;
    case MappingKind::kZero:
      fill(piece, 0, mapping.length, std::byte{0});
      break;
    case MappingKind::kUnallocated:
      if (backing_) {
        parts.tasks.push_back(read_backing(at.value, piece));
      } else {
        fill(piece, 0, mapping.length, std::byte{0});
      }
      break;
    case MappingKind::kCompressed:
      parts.tasks.push_back(
          read_compressed(mapping.descriptor, at.value & geometry_.cluster_mask(), piece));
      break;
    case MappingKind::kCorrupt:
      parts.tasks.push_back(
          failed(Error(ErrorKind::kCorrupt, fmt::format("the L2 entry for guest offset {:#x} is "
                                                        "{:#x}, which means nothing",
                                                        at.value, mapping.descriptor))));
      break;
  }
}

// A cluster that a file lacks as a whole was cut off: it held something once. The last one may be
// there in part, as writers leave it that write no more than they were given.
Result<void> QcowDisk::check_there(HostOffset host, std::uint64_t length) {
  const std::uint64_t last = (host.value + length - 1) & ~geometry_.cluster_mask();
  const std::uint64_t end = data().size();
  if (last < end) return {};
  return fail_errno(EIO, fmt::format("the data cluster at {:#x} lies beyond the {}'s end at {:#x}, "
                                     "which was cut off",
                                     last, data_file_ ? "data file" : "file", end));
}

Task<Result<void>> QcowDisk::read_data(HostOffset host, IoVec iov) {
  VMM_CO_CHECK(check_there(host, total_size(iov)));
  Passages::Pass pass(passages_);
  co_return co_await data().readv(host.value, iov);
}

// What lies beyond the backing file's end reads as zeros.
Task<Result<void>> QcowDisk::read_backing(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  const std::uint64_t there = offset < backing_->size() ? backing_->size() - offset : 0;
  if (length <= there) co_return co_await backing_->readv(offset, iov);
  fill(iov, there, length - there, std::byte{0});
  if (there == 0) co_return Result<void>();
  std::vector<iovec> head;
  append_slice(iov, 0, there, head);
  co_return co_await backing_->readv(offset, head);
}

Task<Result<void>> QcowDisk::read_compressed(std::uint64_t descriptor, std::uint64_t skip,
                                             IoVec iov) {
  const CompressedRange range = compressed_range(descriptor, geometry_);
  VMM_CO_CHECK(check_there(range.offset, 1));
  AlignedBuffer packed(range.size);
  {
    Passages::Pass pass(passages_);
    iovec whole = packed.as_iovec();
    VMM_CO_CHECK(co_await storage_->readv(range.offset.value, IoVec(&whole, 1)));
  }
  AlignedBuffer cluster(geometry_.cluster_size());
  Result<void> unpacked = decompress(header().compression_type, packed.bytes(), cluster.bytes());
  if (!unpacked) {
    co_return Unexpected(std::move(unpacked).error().with_context(
        fmt::format("compressed cluster at {:#x}", range.offset.value)));
  }
  copy_to_iovec(std::span<const std::byte>(cluster.bytes()).subspan(skip, total_size(iov)), iov, 0);
  co_return Result<void>();
}

}  // namespace vmm::disk::qcow
