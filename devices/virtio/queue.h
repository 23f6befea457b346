// SPDX-License-Identifier: Apache-2.0
// Virtqueue: the rules of a split virtqueue (virtio 1.2, 2.7) and nothing else. It runs on one
// thread, the device's; the guest works on the same memory at the same time.
//
// Everything in the rings is guest-controlled. What breaks the rules is an Error: the queue is then
// dead, and the device shows DEVICE_NEEDS_RESET.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "devices/virtio/chain.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"

namespace vmm::virtio {

// Feature bits that change how a queue works (virtio 1.2, 6).
inline constexpr std::uint64_t kFeatureIndirectDesc = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kFeatureEventIdx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kFeatureVersion1 = std::uint64_t{1} << 32;

// Where the driver put a queue's three areas.
struct QueueLayout {
  std::uint16_t size = 0;  // entries; a power of two
  GuestAddress descriptors;
  GuestAddress driver_area;  // the available ring
  GuestAddress device_area;  // the used ring
};

class Virtqueue {
 public:
  static constexpr std::uint16_t kMaxSize = 1024;
  static constexpr std::uint32_t kMaxIndirect = 1024;  // descriptors in one indirect table
  static constexpr std::size_t kMaxBuffers = 1024;     // in one chain: what readv(2) takes
  // In all chains in flight, by one chain more at most: beyond it full() is true.
  static constexpr std::size_t kMaxBuffersInFlight = 8192;

  // Fails where an area is misaligned or not in guest memory as a whole. `features` are the
  // negotiated ones. The memory must outlive the queue.
  static Result<std::unique_ptr<Virtqueue>> create(const GuestMemory& memory,
                                                   const QueueLayout& layout,
                                                   std::uint64_t features);
  ~Virtqueue();

  // The next chain that the driver made available, if there is one. After an error there is none
  // ever again.
  Result<std::optional<Chain>> pop();

  // Asks the driver for kicks, and returns whether it may be waited for one: false means that
  // chains came in the meantime.
  [[nodiscard]] bool enable_kicks();
  // A hint: kicks are not needed while chains are being popped anyway.
  void disable_kicks();

  // Whether the driver wants an interrupt for the chains completed since the last call.
  bool needs_interrupt();

  std::size_t nr_in_flight() const { return nr_in_flight_; }
  // The chains in flight have so many buffers that no more should be popped: their lists are memory
  // of the host's.
  bool full() const { return nr_buffers_in_flight_ >= kMaxBuffersInFlight; }
  std::uint16_t size() const { return size_; }

 private:
  friend class Chain;
  struct Descriptor;

  Virtqueue(const GuestMemory& memory, std::uint16_t size, std::uint64_t features);
  Result<void> gather(std::uint16_t head, ChainBuffers& buffers) const;
  Result<void> append(const Descriptor& descriptor, ChainBuffers& buffers) const;
  Unexpected<Error> broken(std::string message);
  ChainBuffers& take_buffers();
  void keep_buffers(ChainBuffers& buffers);
  void push_used(ChainBuffers& buffers, std::uint32_t written);

  std::uint16_t* avail_flags() const;
  std::uint16_t* avail_index() const;
  std::uint16_t* avail_entry(std::uint16_t index) const;
  std::uint16_t* used_event() const;
  std::uint16_t* used_flags() const;
  std::uint16_t* used_index() const;
  std::uint16_t* avail_event() const;

  const GuestMemory& memory_;
  const std::uint16_t size_;
  const bool event_index_;
  const bool indirect_;
  std::byte* descriptors_ = nullptr;
  std::byte* avail_ = nullptr;
  std::byte* used_ = nullptr;

  std::uint16_t next_avail_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t signalled_used_ = 0;  // next_used_ at the last needs_interrupt()
  bool broken_ = false;

  std::size_t nr_in_flight_ = 0;
  std::size_t nr_buffers_in_flight_ = 0;
  std::size_t nr_buffers_kept_ = 0;                         // room for so many in `free_buffers_`
  std::vector<std::unique_ptr<ChainBuffers>> all_buffers_;  // at most size_
  std::vector<ChainBuffers*> free_buffers_;
};

}  // namespace vmm::virtio
