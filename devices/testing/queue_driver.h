// SPDX-License-Identifier: Apache-2.0
// QueueDriver: the driver's side of a split virtqueue (virtio 1.2, 2.7.13 and 2.7.14), for tests:
// it builds chains, makes them available and takes them back. The raw setters below let a test
// break every rule.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "devices/virtio/queue.h"
#include "vmm/core/guest_memory.h"

namespace vmm::testing {

// Hands out guest memory, front to back.
class GuestArena {
 public:
  GuestArena(GuestAddress start, std::uint64_t size)
      : next_(start.value), end_(start.value + size) {}
  // Fails the process where nothing is left: tests know what they need.
  GuestAddress take(std::uint64_t size, std::uint64_t alignment = 16);

 private:
  std::uint64_t next_;
  std::uint64_t end_;
};

struct Buffer {
  GuestAddress address;
  std::uint32_t length = 0;
  bool writable = false;
};

struct Used {
  std::uint32_t id = 0;  // the head that add() returned
  std::uint32_t length = 0;
};

class QueueDriver {
 public:
  static constexpr std::uint16_t kNext = 1;
  static constexpr std::uint16_t kWrite = 2;
  static constexpr std::uint16_t kIndirect = 4;

  QueueDriver(const GuestMemory& memory, GuestArena& arena, std::uint16_t size,
              std::uint64_t features = virtio::kFeatureVersion1);

  virtio::QueueLayout layout() const { return layout_; }

  // Makes a chain available, and returns its head. There must be room: see nr_free().
  std::uint16_t add(std::span<const Buffer> buffers);
  std::uint16_t add(std::initializer_list<Buffer> buffers) {
    return add(std::span(buffers.begin(), buffers.size()));
  }
  // The same through an indirect table.
  std::uint16_t add_indirect(std::initializer_list<Buffer> buffers);
  // Whether the device asked to be kicked for what was added since the last call.
  bool needs_kick();
  std::size_t nr_free() const { return free_.size(); }

  // The next chain that the device is done with.
  std::optional<Used> take_used();
  bool has_used() const;
  std::uint16_t used_index() const;
  // With EVENT_IDX take_used() asks for an interrupt for the next chain; this asks, from now on,
  // for one when the used index passes `index`. The other is for a driver without EVENT_IDX.
  void set_used_event(std::uint16_t index);
  void set_no_interrupt(bool no_interrupt);

  // Breaking rules.
  void set_descriptor(std::uint16_t index, GuestAddress address, std::uint32_t length,
                      std::uint16_t flags, std::uint16_t next);
  void set_descriptor_in(GuestAddress table, std::uint16_t index, GuestAddress address,
                         std::uint32_t length, std::uint16_t flags, std::uint16_t next);
  void make_available(std::uint16_t head);
  void set_avail_index(std::uint16_t index);
  std::uint16_t avail_index() const { return avail_index_; }

 private:
  GuestAddress used_event() const;
  std::uint16_t load(GuestAddress address) const;
  void store(GuestAddress address, std::uint16_t value);
  std::uint16_t add_table(GuestAddress table, std::uint32_t length);

  const GuestMemory& memory_;
  GuestArena& arena_;
  virtio::QueueLayout layout_;
  bool event_index_;
  bool event_set_by_hand_ = false;
  std::vector<std::uint16_t> free_;
  std::map<std::uint16_t, std::vector<std::uint16_t>> in_use_;  // by head
  std::uint16_t avail_index_ = 0;
  std::uint16_t kicked_ = 0;
  std::uint16_t next_used_ = 0;
};

}  // namespace vmm::testing
