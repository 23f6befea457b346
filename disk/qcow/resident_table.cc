// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/resident_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {

Task<Result<void>> ResidentTable::load(Storage& storage, HostOffset offset,
                                       std::uint64_t nr_entries) {
  offset_ = offset;
  entries_.assign(nr_entries, 0);
  dirty_.clear();
  if (nr_entries == 0) co_return Result<void>();
  AlignedBuffer raw(nr_entries * 8);
  iovec whole = raw.as_iovec();
  Result<void> read = co_await storage.readv(offset.value, IoVec(&whole, 1));
  if (!read) {
    co_return Unexpected(
        std::move(read).error().with_context(fmt::format("{} at {:#x}", name_, offset.value)));
  }
  for (std::uint64_t i = 0; i < nr_entries; ++i) {
    entries_[i] = load_be<std::uint64_t>(raw.data() + i * 8);
  }
  co_return Result<void>();
}

void ResidentTable::resize(std::uint64_t nr_entries) {
  entries_.resize(nr_entries, 0);
  dirty_.erase(dirty_.lower_bound((nr_entries + kChunkEntries - 1) / kChunkEntries), dirty_.end());
}

void ResidentTable::assign(HostOffset offset, std::vector<std::uint64_t> entries) {
  offset_ = offset;
  entries_ = std::move(entries);
  dirty_.clear();
}

void ResidentTable::move_to(HostOffset offset) {
  offset_ = offset;
  for (std::uint64_t chunk = 0; chunk * kChunkEntries < size(); ++chunk) dirty_.insert(chunk);
}

ResidentTable::Batch ResidentTable::take_dirty() {
  Batch batch{offset_, {}};
  for (std::uint64_t chunk : dirty_) {
    // Tables fill whole clusters, so the last chunk may always be written as a whole.
    AlignedBuffer bytes = AlignedBuffer::zeroed(kChunkEntries * 8);
    const std::uint64_t first = chunk * kChunkEntries;
    for (std::uint64_t i = first; i < std::min(first + kChunkEntries, size()); ++i) {
      store_be<std::uint64_t>(bytes.data() + (i - first) * 8, entries_[i]);
    }
    batch.parts.push_back({chunk, std::move(bytes)});
  }
  dirty_.clear();
  return batch;
}

void ResidentTable::put_back(const Batch& batch) {
  for (const Batch::Part& part : batch.parts) {
    if (part.chunk * kChunkEntries < size()) dirty_.insert(part.chunk);
  }
}

Task<Result<void>> ResidentTable::write(Storage& storage, Batch batch) {
  Result<void> all;
  for (std::size_t i = 0; i < batch.parts.size() && all;) {
    // Parts that follow each other go out together.
    std::vector<iovec> iov;
    const std::uint64_t first = batch.parts[i].chunk;
    while (i < batch.parts.size() && batch.parts[i].chunk == first + iov.size() &&
           iov.size() < 1024) {
      iov.push_back(batch.parts[i++].bytes.as_iovec());
    }
    all = co_await storage.writev(batch.table.value + first * kChunkEntries * 8, iov);
  }
  if (all) co_return all;
  put_back(batch);
  co_return Unexpected(
      std::move(all).error().with_context(fmt::format("{} at {:#x}", name_, batch.table.value)));
}

}  // namespace vmm::disk::qcow
