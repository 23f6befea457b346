// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/queue.h"

#include <fmt/core.h>

#include <atomic>
#include <bit>
#include <cassert>
#include <cstring>

#include "vmm/core/byte_order.h"

namespace vmm::virtio {
namespace {

// virtio 1.2, 2.7.5 to 2.7.8. All fields are little endian, as are the hosts there are.
static_assert(std::endian::native == std::endian::little);

constexpr std::uint16_t kDescriptorNext = 1;
constexpr std::uint16_t kDescriptorWrite = 2;
constexpr std::uint16_t kDescriptorIndirect = 4;
constexpr std::uint16_t kAvailNoInterrupt = 1;
constexpr std::uint16_t kUsedNoNotify = 1;

constexpr std::uint64_t kDescriptorSize = 16;
constexpr std::uint64_t kUsedEntrySize = 8;
constexpr std::uint64_t kRingHeader = 4;  // flags and idx

struct UsedEntry {
  std::uint32_t id;
  std::uint32_t length;
};

// Fields that both sides use at once.
std::uint16_t load_shared(std::uint16_t* field, std::memory_order order) {
  return std::atomic_ref(*field).load(order);
}
void store_shared(std::uint16_t* field, std::uint16_t value, std::memory_order order) {
  std::atomic_ref(*field).store(value, order);
}

// Between a store that the driver reads and a load of what the driver stores; the driver has the
// same on its side, so at least one of the two sees the other (virtio 1.2, 2.7.13.4.1).
void full_barrier() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace

struct Virtqueue::Descriptor {
  std::uint64_t address;
  std::uint32_t length;  // bytes
  std::uint16_t flags;
  std::uint16_t next;

  // The guest may change its descriptors at any time: everything is checked on this copy, and the
  // fence keeps the compiler from looking again.
  static Descriptor copy_from(const std::byte* table, std::uint32_t index) {
    Descriptor descriptor;
    static_assert(sizeof descriptor == kDescriptorSize);
    std::memcpy(&descriptor, table + index * kDescriptorSize, sizeof descriptor);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return descriptor;
  }
};

Result<std::unique_ptr<Virtqueue>> Virtqueue::create(const GuestMemory& memory,
                                                     const QueueLayout& layout,
                                                     std::uint64_t features) {
  assert(std::has_single_bit(layout.size) && layout.size <= kMaxSize);
  std::unique_ptr<Virtqueue> queue(new Virtqueue(memory, layout.size, features));
  struct Area {
    const char* name;
    GuestAddress start;
    std::uint64_t size;
    std::uint64_t alignment;
    std::byte** host;
  };
  // The two rings end with an event field, whether it is used or not (virtio 1.2, 2.7).
  const Area areas[] = {{"descriptor table", layout.descriptors, kDescriptorSize * layout.size, 16,
                         &queue->descriptors_},
                        {"available ring", layout.driver_area,
                         kRingHeader + 2 * std::uint64_t{layout.size} + 2, 2, &queue->avail_},
                        {"used ring", layout.device_area,
                         kRingHeader + kUsedEntrySize * layout.size + 2, 4, &queue->used_}};
  for (const Area& area : areas) {
    std::byte* host = memory.find(area.start, area.size);
    if (host == nullptr || area.start.value % area.alignment != 0) {
      return fail(ErrorKind::kInvalid, fmt::format("{} at {:#x} is misaligned or not in memory",
                                                   area.name, area.start.value));
    }
    *area.host = host;
  }
  return queue;
}

Virtqueue::Virtqueue(const GuestMemory& memory, std::uint16_t size, std::uint64_t features)
    : memory_(memory),
      size_(size),
      event_index_((features & kFeatureEventIdx) != 0),
      indirect_((features & kFeatureIndirectDesc) != 0) {
}

Virtqueue::~Virtqueue() {
  assert(nr_in_flight_ == 0);
}

std::uint16_t* Virtqueue::avail_flags() const {
  return reinterpret_cast<std::uint16_t*>(avail_);
}
std::uint16_t* Virtqueue::avail_index() const {
  return reinterpret_cast<std::uint16_t*>(avail_ + 2);
}
std::uint16_t* Virtqueue::avail_entry(std::uint16_t index) const {
  return reinterpret_cast<std::uint16_t*>(avail_ + kRingHeader + 2 * (index & (size_ - 1u)));
}
std::uint16_t* Virtqueue::used_event() const {
  return reinterpret_cast<std::uint16_t*>(avail_ + kRingHeader + 2 * std::size_t{size_});
}
std::uint16_t* Virtqueue::used_flags() const {
  return reinterpret_cast<std::uint16_t*>(used_);
}
std::uint16_t* Virtqueue::used_index() const {
  return reinterpret_cast<std::uint16_t*>(used_ + 2);
}
std::uint16_t* Virtqueue::avail_event() const {
  return reinterpret_cast<std::uint16_t*>(used_ + kRingHeader + kUsedEntrySize * size_);
}

Unexpected<Error> Virtqueue::broken(std::string message) {
  broken_ = true;
  return fail(ErrorKind::kInvalid, std::move(message));
}

Result<std::optional<Chain>> Virtqueue::pop() {
  if (broken_) return std::optional<Chain>();
  // Acquire: the entries up to idx were written before it.
  std::uint16_t index = load_shared(avail_index(), std::memory_order_acquire);
  auto nr_waiting = static_cast<std::uint16_t>(index - next_avail_);
  if (nr_waiting == 0) return std::optional<Chain>();
  if (nr_waiting > size_) {
    return broken(
        fmt::format("avail.idx jumped from {} to {} in a queue of {}", next_avail_, index, size_));
  }
  // Every chain in flight has a descriptor of its own, unless the driver used one twice.
  if (nr_in_flight_ == size_) return broken("more chains are available than there are descriptors");

  std::uint16_t head = load_shared(avail_entry(next_avail_), std::memory_order_relaxed);
  ChainBuffers& buffers = take_buffers();
  Result<void> gathered = gather(head, buffers);
  if (!gathered) {
    keep_buffers(buffers);
    broken_ = true;
    return Unexpected(std::move(gathered).error());
  }
  ++next_avail_;
  ++nr_in_flight_;
  nr_buffers_in_flight_ += buffers.iov.size();
  return std::optional<Chain>(std::in_place, *this, buffers);
}

Result<void> Virtqueue::gather(std::uint16_t head, ChainBuffers& buffers) const {
  buffers.head = head;
  buffers.iov.clear();
  buffers.nr_readable = 0;

  const std::byte* table = descriptors_;
  std::uint32_t table_size = size_;
  std::uint32_t index = head;
  bool inside_indirect = false;
  // Every descriptor of a table may be used once: one more means a loop.
  for (std::uint32_t nr_left = table_size; nr_left > 0; --nr_left) {
    if (index >= table_size) {
      return fail(ErrorKind::kInvalid,
                  fmt::format("descriptor {} in a table of {}", index, table_size));
    }
    Descriptor descriptor = Descriptor::copy_from(table, index);
    if ((descriptor.flags & kDescriptorIndirect) != 0) {
      if (!indirect_ || inside_indirect || (descriptor.flags & kDescriptorNext) != 0) {
        return fail(ErrorKind::kInvalid, "an indirect descriptor where none may be");
      }
      table_size = static_cast<std::uint32_t>(descriptor.length / kDescriptorSize);
      table = memory_.find(GuestAddress(descriptor.address), descriptor.length);
      if (table == nullptr || table_size == 0 || table_size > kMaxIndirect ||
          descriptor.length % kDescriptorSize != 0) {
        return fail(ErrorKind::kInvalid, fmt::format("bad indirect table at {:#x}+{:#x}",
                                                     descriptor.address, descriptor.length));
      }
      inside_indirect = true;
      index = 0;
      nr_left = table_size + 1;
      continue;
    }
    VMM_CHECK(append(descriptor, buffers));
    if ((descriptor.flags & kDescriptorNext) == 0) return {};
    index = descriptor.next;
  }
  return fail(ErrorKind::kInvalid, "a descriptor chain loops");
}

Result<void> Virtqueue::append(const Descriptor& descriptor, ChainBuffers& buffers) const {
  bool writable = (descriptor.flags & kDescriptorWrite) != 0;
  bool any_writable = buffers.nr_readable < buffers.iov.size();
  if (any_writable && !writable) {
    return fail(ErrorKind::kInvalid, "a readable descriptor behind a writable one");
  }
  if (descriptor.length == 0) return {};
  std::byte* host = memory_.find(GuestAddress(descriptor.address), descriptor.length);
  if (host == nullptr) {
    return fail(ErrorKind::kInvalid, fmt::format("buffer {:#x}+{:#x} is not in guest memory",
                                                 descriptor.address, descriptor.length));
  }
  bool same_kind = !buffers.iov.empty() && writable == any_writable;
  if (same_kind) {
    iovec& last = buffers.iov.back();
    if (static_cast<std::byte*>(last.iov_base) + last.iov_len == host) {
      last.iov_len += descriptor.length;
      return {};
    }
  }
  if (buffers.iov.size() == kMaxBuffers) {
    return fail(ErrorKind::kInvalid, "a chain has too many buffers");
  }
  buffers.iov.push_back({host, descriptor.length});
  if (!writable) ++buffers.nr_readable;
  return {};
}

ChainBuffers& Virtqueue::take_buffers() {
  if (free_buffers_.empty()) {
    all_buffers_.push_back(std::make_unique<ChainBuffers>());
    return *all_buffers_.back();
  }
  ChainBuffers& buffers = *free_buffers_.back();
  free_buffers_.pop_back();
  nr_buffers_kept_ -= buffers.iov.capacity();
  return buffers;
}

// The room of a few long lists is kept, not that of as many as there are chains.
void Virtqueue::keep_buffers(ChainBuffers& buffers) {
  if (nr_buffers_kept_ + buffers.iov.capacity() > kMaxBuffersInFlight) buffers.iov = {};
  nr_buffers_kept_ += buffers.iov.capacity();
  free_buffers_.push_back(&buffers);
}

void Virtqueue::push_used(ChainBuffers& buffers, std::uint32_t written) {
  UsedEntry entry{buffers.head, written};
  std::memcpy(used_ + kRingHeader + kUsedEntrySize * (next_used_ & (size_ - 1u)), &entry,
              sizeof entry);
  ++next_used_;
  // Release: the entry, and what was written to the buffers, come before it.
  store_shared(used_index(), next_used_, std::memory_order_release);
  --nr_in_flight_;
  nr_buffers_in_flight_ -= buffers.iov.size();
  keep_buffers(buffers);
}

bool Virtqueue::enable_kicks() {
  if (event_index_) {
    store_shared(avail_event(), next_avail_, std::memory_order_relaxed);
  } else {
    store_shared(used_flags(), 0, std::memory_order_relaxed);
  }
  full_barrier();
  return broken_ || load_shared(avail_index(), std::memory_order_relaxed) == next_avail_;
}

void Virtqueue::disable_kicks() {
  // With an event index there is nothing to do: it lies behind us by now.
  if (!event_index_) store_shared(used_flags(), kUsedNoNotify, std::memory_order_relaxed);
}

bool Virtqueue::needs_interrupt() {
  if (signalled_used_ == next_used_) return false;
  auto nr_new = static_cast<std::uint16_t>(next_used_ - signalled_used_);
  signalled_used_ = next_used_;
  full_barrier();
  if (!event_index_) {
    return (load_shared(avail_flags(), std::memory_order_relaxed) & kAvailNoInterrupt) == 0;
  }
  // Whether the index that the driver named is among the new ones (virtio 1.2, 2.7.7.2).
  std::uint16_t event = load_shared(used_event(), std::memory_order_relaxed);
  return static_cast<std::uint16_t>(next_used_ - event - 1) < nr_new;
}

void Chain::complete(std::uint32_t written) {
  assert(buffers_ != nullptr && "a chain was completed twice");
  queue_->push_used(*std::exchange(buffers_, nullptr), written);
}

}  // namespace vmm::virtio
