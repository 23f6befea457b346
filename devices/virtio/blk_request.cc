// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/blk_request.h"

#include <algorithm>
#include <atomic>

#include "vmm/core/byte_order.h"

namespace vmm::virtio {
namespace {

struct Header {
  Le32 type;
  Le32 reserved;
  Le64 sector;
};
static_assert(sizeof(Header) == 16);

struct RangeOnWire {
  Le64 sector;
  Le32 nr_sectors;
  Le32 flags;
};
static_assert(sizeof(RangeOnWire) == 16);

constexpr std::uint32_t kRangeUnmap = 1;

// Copies a guest-controlled structure out of a list, once: what is checked is what is used.
template <class T>
T copy_out(IoVec from, std::uint64_t skip) {
  T object;
  copy_from_iovec(from, skip, std::as_writable_bytes(std::span(&object, 1)));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return object;
}

// `iov` without its first `length` bytes, which must be there. Changes the entry it cuts.
std::span<iovec> cut_front(std::span<iovec> iov, std::uint64_t length) {
  while (length > 0 && iov.front().iov_len <= length) {
    length -= iov.front().iov_len;
    iov = iov.subspan(1);
  }
  if (length > 0) {
    iov.front().iov_base = static_cast<std::byte*>(iov.front().iov_base) + length;
    iov.front().iov_len -= length;
  }
  return iov;
}

// Cuts off the last byte, and returns where it is. Entries are never empty.
std::byte* cut_last_byte(std::span<iovec>& iov) {
  iovec& last = iov.back();
  auto* byte = static_cast<std::byte*>(last.iov_base) + --last.iov_len;
  if (last.iov_len == 0) iov = iov.first(iov.size() - 1);
  return byte;
}

bool inside(std::uint64_t sector, std::uint64_t nr_sectors, const BlkLimits& limits) {
  return sector <= limits.nr_sectors && nr_sectors <= limits.nr_sectors - sector;
}

BlkStatus check_transfer(const BlkRequest& request, std::uint64_t sector, const BlkLimits& limits) {
  if (request.type == BlkType::kOut && limits.read_only) return BlkStatus::kIoError;
  if (request.length > kBlkMaxBytes || request.length % kSectorSize != 0) {
    return BlkStatus::kIoError;
  }
  bool fits = inside(sector, request.length / kSectorSize, limits);
  return fits ? BlkStatus::kOk : BlkStatus::kIoError;
}

BlkStatus check_ranges(const BlkRequest& request, std::uint64_t feature, const BlkLimits& limits) {
  if ((limits.features & feature) == 0) return BlkStatus::kUnsupported;
  if (limits.read_only) return BlkStatus::kIoError;
  bool whole = request.length % sizeof(RangeOnWire) == 0;
  bool few = request.length <= kBlkMaxRanges * sizeof(RangeOnWire);
  return whole && few && request.length > 0 ? BlkStatus::kOk : BlkStatus::kIoError;
}

BlkStatus check(const BlkRequest& request, std::uint64_t sector, const BlkLimits& limits) {
  switch (request.type) {
    case BlkType::kIn:
    case BlkType::kOut:
      return check_transfer(request, sector, limits);
    case BlkType::kFlush:
    case BlkType::kGetId:
      return BlkStatus::kOk;
    case BlkType::kDiscard:
      return check_ranges(request, kBlkDiscard, limits);
    case BlkType::kWriteZeroes:
      return check_ranges(request, kBlkWriteZeroes, limits);
  }
  return BlkStatus::kUnsupported;  // guest-controlled: any number may be here
}

}  // namespace

BlkRequest BlkRequest::parse(std::span<iovec> readable, std::span<iovec> writable,
                             const BlkLimits& limits) {
  BlkRequest request;
  if (!writable.empty()) {
    request.status = cut_last_byte(writable);
    request.status_offset = total_size(writable);
  }
  if (total_size(readable) < sizeof(Header)) {
    request.verdict = BlkStatus::kIoError;
    return request;
  }
  auto header = copy_out<Header>(readable, 0);
  readable = cut_front(readable, sizeof(Header));

  request.type = static_cast<BlkType>(std::uint32_t{header.type});
  bool from_device = request.type == BlkType::kIn || request.type == BlkType::kGetId;
  request.data = from_device ? writable : readable;
  request.length = total_size(request.data);
  request.verdict = check(request, header.sector, limits);
  bool is_transfer = request.type == BlkType::kIn || request.type == BlkType::kOut;
  if (is_transfer && request.verdict == BlkStatus::kOk) {
    request.offset = header.sector * kSectorSize;  // inside the disk, so it does not overflow
  }
  return request;
}

std::size_t BlkRequest::nr_ranges() const {
  return length / sizeof(RangeOnWire);
}

BlkRange BlkRequest::range(std::size_t index, const BlkLimits& limits) const {
  auto wire = copy_out<RangeOnWire>(data, index * sizeof(RangeOnWire));
  BlkRange range;
  // Discard has no flags (virtio 1.2, 5.2.6.2).
  std::uint32_t known = type == BlkType::kWriteZeroes ? kRangeUnmap : 0;
  if ((wire.flags & ~known) != 0) {
    range.verdict = BlkStatus::kUnsupported;
  } else if (wire.nr_sectors > kBlkMaxRangeSectors ||
             !inside(wire.sector, wire.nr_sectors, limits)) {
    range.verdict = BlkStatus::kIoError;
  } else {
    range.offset = wire.sector * kSectorSize;
    range.length = std::uint64_t{wire.nr_sectors} * kSectorSize;
    range.unmap = type == BlkType::kDiscard || (wire.flags & kRangeUnmap) != 0;
  }
  return range;
}

std::uint32_t BlkRequest::nr_written(BlkStatus answer) const {
  std::uint64_t data_written = 0;
  if (answer == BlkStatus::kOk && type == BlkType::kIn) data_written = length;
  if (answer == BlkStatus::kOk && type == BlkType::kGetId) {
    data_written = std::min<std::uint64_t>(length, kBlkIdSize);
  }
  // The status byte counts only where no gap lies in front of it (virtio 1.2, 2.7.8.2).
  return static_cast<std::uint32_t>(data_written + (data_written == status_offset ? 1 : 0));
}

}  // namespace vmm::virtio
