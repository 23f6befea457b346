// SPDX-License-Identifier: Apache-2.0
#include "devices/testing/queue_driver.h"

#include <atomic>
#include <cstdlib>
#include <utility>

#include "vmm/core/byte_order.h"

namespace vmm::testing {
namespace {

constexpr std::uint64_t kRingHeader = 4;

struct Descriptor {
  Le64 address;
  Le32 length;
  Le16 flags;
  Le16 next;
};
static_assert(sizeof(Descriptor) == 16);

struct UsedEntry {
  Le32 id;
  Le32 length;
};

}  // namespace

GuestAddress GuestArena::take(std::uint64_t size, std::uint64_t alignment) {
  std::uint64_t start = (next_ + alignment - 1) / alignment * alignment;
  if (start > end_ || size > end_ - start) std::abort();
  next_ = start + size;
  return GuestAddress(start);
}

QueueDriver::QueueDriver(const GuestMemory& memory, GuestArena& arena, std::uint16_t size,
                         std::uint64_t features)
    : memory_(memory), arena_(arena), event_index_((features & virtio::kFeatureEventIdx) != 0) {
  layout_ = {.size = size,
             .descriptors = arena.take(16u * size),
             .driver_area = arena.take(kRingHeader + 2u * size + 2),
             .device_area = arena.take(kRingHeader + 8u * size + 2)};
  // A device may look at the rings from DRIVER_OK on.
  const std::vector<std::byte> zeros(16u * size + 16);
  for (auto [area, length] : {std::pair{layout_.descriptors, 16u * size},
                              {layout_.driver_area, 4u + 2u * size + 2},
                              {layout_.device_area, 4u + 8u * size + 2}}) {
    if (!memory_.write(area, std::span(zeros).first(length))) std::abort();
  }
  for (std::uint16_t i = size; i > 0; --i) free_.push_back(static_cast<std::uint16_t>(i - 1));
}

std::uint16_t QueueDriver::load(GuestAddress address) const {
  auto* field = reinterpret_cast<std::uint16_t*>(memory_.find(address, 2));
  return std::atomic_ref(*field).load();
}

void QueueDriver::store(GuestAddress address, std::uint16_t value) {
  auto* field = reinterpret_cast<std::uint16_t*>(memory_.find(address, 2));
  std::atomic_ref(*field).store(value);
}

void QueueDriver::set_descriptor_in(GuestAddress table, std::uint16_t index, GuestAddress address,
                                    std::uint32_t length, std::uint16_t flags, std::uint16_t next) {
  Descriptor descriptor{.address = address.value, .length = length, .flags = flags, .next = next};
  if (!memory_.write_object(table + 16u * index, descriptor)) std::abort();
}

void QueueDriver::set_descriptor(std::uint16_t index, GuestAddress address, std::uint32_t length,
                                 std::uint16_t flags, std::uint16_t next) {
  set_descriptor_in(layout_.descriptors, index, address, length, flags, next);
}

void QueueDriver::set_avail_index(std::uint16_t index) {
  avail_index_ = index;
  store(layout_.driver_area + 2, index);
}

void QueueDriver::make_available(std::uint16_t head) {
  store(layout_.driver_area + kRingHeader + 2u * (avail_index_ % layout_.size), head);
  set_avail_index(static_cast<std::uint16_t>(avail_index_ + 1));
}

std::uint16_t QueueDriver::add(std::span<const Buffer> buffers) {
  if (buffers.size() > free_.size() || buffers.empty()) std::abort();
  std::vector<std::uint16_t> indices;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    indices.push_back(free_.back());
    free_.pop_back();
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    bool last = i + 1 == buffers.size();
    auto flags =
        static_cast<std::uint16_t>((buffers[i].writable ? kWrite : 0) | (last ? 0 : kNext));
    set_descriptor(indices[i], buffers[i].address, buffers[i].length, flags,
                   last ? std::uint16_t{0} : indices[i + 1]);
  }
  std::uint16_t head = indices[0];
  in_use_[head] = std::move(indices);
  make_available(head);
  return head;
}

std::uint16_t QueueDriver::add_indirect(std::initializer_list<Buffer> buffers) {
  if (free_.empty()) std::abort();
  GuestAddress table = arena_.take(16 * buffers.size());
  std::uint16_t i = 0;
  for (const Buffer& buffer : buffers) {
    bool last = i + 1u == buffers.size();
    auto flags = static_cast<std::uint16_t>((buffer.writable ? kWrite : 0) | (last ? 0 : kNext));
    set_descriptor_in(table, i, buffer.address, buffer.length, flags,
                      static_cast<std::uint16_t>(i + 1));
    ++i;
  }
  std::uint16_t head = free_.back();
  free_.pop_back();
  set_descriptor(head, table, static_cast<std::uint32_t>(16 * buffers.size()), kIndirect, 0);
  in_use_[head] = {head};
  make_available(head);
  return head;
}

bool QueueDriver::needs_kick() {
  std::uint16_t before = kicked_;
  kicked_ = avail_index_;
  if (before == avail_index_) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // what was added is visible first
  if (!event_index_) return (load(layout_.device_area) & 1) == 0;
  std::uint16_t event = load(layout_.device_area + kRingHeader + 8u * layout_.size);
  return static_cast<std::uint16_t>(avail_index_ - event - 1) <
         static_cast<std::uint16_t>(avail_index_ - before);
}

std::uint16_t QueueDriver::used_index() const {
  return load(layout_.device_area + 2);
}

bool QueueDriver::has_used() const {
  return used_index() != next_used_;
}

std::optional<Used> QueueDriver::take_used() {
  if (!has_used()) return std::nullopt;
  GuestAddress slot = layout_.device_area + kRingHeader + 8u * (next_used_ % layout_.size);
  UsedEntry entry = *memory_.read_object<UsedEntry>(slot);
  ++next_used_;
  if (auto chain = in_use_.find(static_cast<std::uint16_t>(entry.id)); chain != in_use_.end()) {
    free_.insert(free_.end(), chain->second.begin(), chain->second.end());
    in_use_.erase(chain);
  }
  if (event_index_ && !event_set_by_hand_) store(used_event(), next_used_);
  return Used{entry.id, entry.length};
}

GuestAddress QueueDriver::used_event() const {
  return layout_.driver_area + kRingHeader + 2u * layout_.size;
}

void QueueDriver::set_used_event(std::uint16_t index) {
  event_set_by_hand_ = true;
  store(used_event(), index);
}

void QueueDriver::set_no_interrupt(bool no_interrupt) {
  store(layout_.driver_area, no_interrupt ? 1 : 0);
}

}  // namespace vmm::testing
