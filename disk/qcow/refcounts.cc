// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/refcounts.h"

#include <fmt/format.h>

#include <algorithm>

#include "disk/qcow/header.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kReservedBits = 0x1ff;  // of a refcount table entry

}  // namespace

std::uint64_t load_refcount(const std::byte* block, std::uint64_t index, std::uint32_t order) {
  switch (order) {
    case 3:
      return std::to_integer<std::uint64_t>(block[index]);
    case 4:
      return load_be<std::uint16_t>(block + index * 2);
    case 5:
      return load_be<std::uint32_t>(block + index * 4);
    case 6:
      return load_be<std::uint64_t>(block + index * 8);
    default: {
      // Several to a byte, the first in the least significant bits.
      const std::uint32_t width = 1u << order;
      const std::uint32_t shift = static_cast<std::uint32_t>(index << order) & 7;
      return std::to_integer<std::uint64_t>(block[(index << order) >> 3]) >> shift &
             ((1u << width) - 1);
    }
  }
}

void store_refcount(std::byte* block, std::uint64_t index, std::uint32_t order,
                    std::uint64_t value) {
  switch (order) {
    case 3:
      block[index] = static_cast<std::byte>(value);
      break;
    case 4:
      store_be(block + index * 2, static_cast<std::uint16_t>(value));
      break;
    case 5:
      store_be(block + index * 4, static_cast<std::uint32_t>(value));
      break;
    case 6:
      store_be(block + index * 8, value);
      break;
    default: {
      const std::uint32_t width = 1u << order;
      const std::uint32_t shift = static_cast<std::uint32_t>(index << order) & 7;
      const std::uint32_t mask = ((1u << width) - 1) << shift;
      std::byte& byte = block[(index << order) >> 3];
      byte = (byte & ~static_cast<std::byte>(mask)) | static_cast<std::byte>(value << shift);
    }
  }
}

Refcounts::Refcounts(EventLoop& loop, Storage& storage, const Geometry& geometry,
                     MetadataMap& metadata, std::uint32_t slice_size, std::size_t cache_slices)
    : storage_(storage),
      geometry_(geometry),
      metadata_(metadata),
      table_("refcount table"),
      cache_(loop, storage, "refcount block", slice_size, cache_slices, nullptr) {
}

Task<Result<void>> Refcounts::load(HostOffset table, std::uint32_t table_clusters) {
  return table_.load(storage_, table,
                     std::uint64_t{table_clusters} << (geometry_.cluster_bits - 3));
}

bool Refcounts::has_block(HostCluster cluster) const {
  std::uint64_t index = block_index(cluster);
  return index < table_.size() && table_[index] != 0;
}

// image-controlled
Result<HostOffset> Refcounts::block_offset(std::uint64_t index) const {
  std::uint64_t entry = table_[index];
  if ((entry & kReservedBits) != 0 || !geometry_.is_cluster_aligned(entry) || entry >= kMaxOffset) {
    return fail(
        ErrorKind::kCorrupt,
        fmt::format("refcount table entry {} is {:#x}, not the offset of a cluster", index, entry));
  }
  if (entry >= storage_.size()) {
    return fail(ErrorKind::kCorrupt,
                fmt::format("the refcount block at {:#x} lies beyond the file's end", entry));
  }
  return HostOffset(entry);
}

Task<Result<TableCache::Ref>> Refcounts::slice_of(HostCluster cluster) {
  Result<HostOffset> block = block_offset(block_index(cluster));
  if (!block) co_return Unexpected(std::move(block).error());
  const std::uint64_t in_block = cluster.index % geometry_.refblock_entries();
  const HostOffset slice = *block + in_block / slice_entries() * cache_.slice_size();
  if (TableCache::Ref hit = cache_.find(slice)) co_return hit;
  co_return co_await cache_.get(slice);
}

Task<Result<std::uint64_t>> Refcounts::get(HostCluster cluster) {
  if (!has_block(cluster)) co_return std::uint64_t{0};
  VMM_CO_TRY(TableCache::Ref slice, co_await slice_of(cluster));
  co_return load_refcount(slice.data(), cluster.index % slice_entries(), geometry_.refcount_order);
}

Task<Result<void>> Refcounts::create_block(HostCluster cluster, HostCluster at, HostRun used) {
  const HostOffset offset = geometry_.start_of(at);
  cache_.drop(offset, geometry_.cluster_size());
  // As a whole and now: slices that stay clean are never written otherwise.
  AlignedBuffer block = AlignedBuffer::zeroed(geometry_.cluster_size());
  const std::uint64_t first = block_index(cluster) * geometry_.refblock_entries();
  const std::uint64_t end = std::min(used.end().index, first + geometry_.refblock_entries());
  for (std::uint64_t i = std::max(used.first.index, first); i < end; ++i) {
    store_refcount(block.data(), i - first, geometry_.refcount_order, 1);
  }
  iovec whole = block.as_iovec();
  Result<void> written = co_await storage_.writev(offset.value, IoVec(&whole, 1));
  if (!written) {
    co_return Unexpected(std::move(written).error().with_context(
        fmt::format("new refcount block at {:#x}", offset.value)));
  }
  metadata_.add({at, 1}, MetadataKind::kRefcountBlock);
  table_.set(block_index(cluster), offset.value);
  co_return Result<void>();
}

void Refcounts::forget_block(HostCluster cluster, HostCluster at) {
  metadata_.remove({at, 1});
  table_.set(block_index(cluster), 0);
}

Task<Result<std::uint64_t>> Refcounts::measure(HostCluster from, std::uint64_t max_free,
                                               bool* free) {
  VMM_CO_TRY(TableCache::Ref slice, co_await slice_of(from));
  const std::uint64_t first = from.index % slice_entries();
  const std::uint32_t order = geometry_.refcount_order;
  *free = load_refcount(slice.data(), first, order) == 0;
  const std::uint64_t left = slice_entries() - first;
  const std::uint64_t end = first + (*free ? std::min(max_free, left) : left);
  std::uint64_t at = first + 1;
  while (at < end && (load_refcount(slice.data(), at, order) == 0) == *free) ++at;
  co_return at - first;
}

Task<Result<void>> Refcounts::increase(HostRun run) {
  return change(run, true, nullptr);
}
Task<Result<void>> Refcounts::decrease(HostRun run, std::vector<HostRun>& unused) {
  return change(run, false, &unused);
}

Task<Result<void>> Refcounts::change(HostRun run, bool up, std::vector<HostRun>* unused) {
  while (run.count > 0) {
    if (!has_block(run.first)) {
      co_return fail(ErrorKind::kCorrupt, fmt::format("cluster at {:#x} has no refcount block",
                                                      geometry_.start_of(run.first).value));
    }
    VMM_CO_TRY(TableCache::Ref slice, co_await slice_of(run.first));
    const std::uint64_t first = run.first.index % slice_entries();
    const std::uint64_t count = std::min(run.count, slice_entries() - first);
    const std::uint32_t order = geometry_.refcount_order;
    const std::uint64_t barrier = up ? geometry_.max_refcount() : 0;
    for (std::uint64_t i = first; i < first + count; ++i) {
      if (load_refcount(slice.data(), i, order) != barrier) continue;
      const std::uint64_t at = geometry_.start_of(run.first + (i - first)).value;
      if (!up) {
        co_return fail(ErrorKind::kCorrupt,
                       fmt::format("cluster at {:#x} is in use but its refcount is 0", at));
      }
      co_return fail(ErrorKind::kNoSpace,
                     fmt::format("the refcount of the cluster at {:#x} cannot exceed {} ({} bits)",
                                 at, barrier, geometry_.refcount_bits()));
    }
    for (std::uint64_t i = first; i < first + count; ++i) {
      std::uint64_t now = load_refcount(slice.data(), i, order);
      store_refcount(slice.data(), i, order, up ? now + 1 : now - 1);
      if (up || now != 1) continue;
      const HostCluster cluster = run.first + (i - first);
      if (!unused->empty() && unused->back().end() == cluster) {
        ++unused->back().count;
      } else {
        unused->push_back({cluster, 1});
      }
    }
    slice.mark_dirty();
    run = {run.first + count, run.count - count};
  }
  co_return Result<void>();
}

}  // namespace vmm::disk::qcow
