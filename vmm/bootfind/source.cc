// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/source.h"

#include <algorithm>
#include <cstring>

#include "disk/open_disk.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/iovec.h"

namespace vmm::bootfind {
namespace {

Result<void> check_range(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  if (lies_inside(offset, length, size)) return {};
  return fail(ErrorKind::kOutOfRange, "a structure points beyond the end");
}

}  // namespace

DiskSource::DiskSource(std::unique_ptr<EventLoop> loop, std::unique_ptr<disk::Disk> disk)
    : loop_(std::move(loop)), disk_(std::move(disk)) {
}

DiskSource::~DiskSource() {
  (void)loop_->run_until(disk_->close());
}

Result<std::unique_ptr<Source>> DiskSource::open(const disk::DiskOptions& options) {
  VMM_TRY(std::unique_ptr<EventLoop> loop, EventLoop::create());
  disk::DiskOptions for_reading = options;
  for_reading.read_only = true;
  for_reading.temporary = false;
  for_reading.direct = false;
  for_reading.cache = disk::CacheMode::kWriteback;
  VMM_TRY(std::unique_ptr<disk::Disk> disk, loop->run_until(open_disk(*loop, for_reading)));
  return std::unique_ptr<Source>(new DiskSource(std::move(loop), std::move(disk)));
}

std::uint64_t DiskSource::size() const {
  return disk_->size();
}

Result<void> DiskSource::read(std::uint64_t offset, std::span<std::byte> to) {
  VMM_CHECK(check_range(offset, to.size(), size()));
  const iovec part = as_iovec(to);
  return loop_->run_until(disk_->readv(offset, IoVec(&part, 1)));
}

Result<void> CachedSource::read(std::uint64_t offset, std::span<std::byte> to) {
  VMM_CHECK(check_range(offset, to.size(), size()));
  while (!to.empty()) {
    const std::size_t skip = offset % kSlotSize;
    VMM_TRY(const Slot* slot, slot_at(offset - skip));
    const std::size_t length = std::min(to.size(), slot->bytes.size() - skip);
    std::memcpy(to.data(), slot->bytes.data() + skip, length);
    to = to.subspan(length);
    offset += length;
  }
  return {};
}

Result<const CachedSource::Slot*> CachedSource::slot_at(std::uint64_t offset) {
  auto found = std::find_if(slots_.begin(), slots_.end(),
                            [&](const Slot& slot) { return slot.offset == offset; });
  if (found != slots_.end()) {
    slots_.splice(slots_.begin(), slots_, found);
    return &slots_.front();
  }
  Slot slot{offset,
            std::vector<std::byte>(std::min<std::uint64_t>(kSlotSize, below_.size() - offset))};
  VMM_CHECK(below_.read(offset, slot.bytes));
  if (slots_.size() >= nr_slots_) slots_.pop_back();
  slots_.push_front(std::move(slot));
  return &slots_.front();
}

PartSource::PartSource(Source& below, std::uint64_t start, std::uint64_t size)
    : below_(below),
      start_(std::min(start, below.size())),
      size_(std::min(size, below.size() - start_)) {
}

Result<void> PartSource::read(std::uint64_t offset, std::span<std::byte> to) {
  VMM_CHECK(check_range(offset, to.size(), size_));
  return below_.read(start_ + offset, to);
}

}  // namespace vmm::bootfind
