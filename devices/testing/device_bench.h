// SPDX-License-Identifier: Apache-2.0
// DeviceBench: a virtio device on a PCI bus with a guest driver in front of it.
#pragma once

#include <memory>
#include <vector>

#include "devices/testing/fake_interrupt.h"
#include "devices/testing/pci_driver.h"
#include "devices/testing/queue_driver.h"
#include "devices/virtio/pci_transport.h"
#include "vmm/io/event_loop.h"

namespace vmm::testing {

class DeviceBench {
 public:
  static constexpr std::uint64_t kMemory = 16 << 20;
  static constexpr std::uint64_t kRingFeatures =
      virtio::kFeatureVersion1 | virtio::kFeatureEventIdx | virtio::kFeatureIndirectDesc;

  // `loop` may run on a thread of its own: then only what a guest can do may be used.
  explicit DeviceBench(EventLoop& event_loop, const GuestMemory::Backing& backing = {});
  // Once. Without `ioeventfd` every kick leaves the guest.
  void attach(virtio::Device& virtio_device, bool ioeventfd = true);

  // Resets, negotiates (of `features` what is offered), sets up all queues with vector 1 + queue,
  // and says DRIVER_OK.
  void start(std::uint64_t features = kRingFeatures);
  QueueDriver& queue(unsigned index = 0) { return *queues[index]; }

  void fill(GuestAddress at, std::uint32_t length, std::uint8_t value);
  bool filled(GuestAddress at, std::uint32_t length, std::uint8_t value) const;

  // For those who drive the loop themselves.
  // Gives the loop turns until the condition holds; false where it does not in time.
  template <class Condition>
  bool wait_for(Condition condition) {
    return loop.run_until(poll(loop, &condition));
  }
  // Enough turns that everything that can happen by itself has happened.
  void settle() { turn(50); }
  void turn(int nr_turns) { loop.run_until(turns(loop, nr_turns)); }
  // Ends what start() began: the transport waits for the loop, so that must turn meanwhile.
  void stop();

  EventLoop& loop;
  GuestMemory memory;
  GuestArena arena{GuestAddress(0x1000), kMemory - 0x1000};
  FakeMsiController msi;
  FakeKickRegistrar kicks;
  pci::Root root{{PciBuses::kWindow, PciBuses::kWindowSize}};
  PciBuses buses{root};
  virtio::Device* device = nullptr;
  std::unique_ptr<virtio::PciTransport> transport;
  std::unique_ptr<PciDriver> driver;
  std::vector<std::unique_ptr<QueueDriver>> queues;

 private:
  template <class Condition>
  static Task<bool> poll(EventLoop& loop, Condition* condition) {
    for (int i = 0; i < 200000; ++i) {
      if ((*condition)()) co_return true;
      co_await loop.yield();
    }
    co_return (*condition)();
  }
  static Task<bool> turns(EventLoop& loop, int nr_turns) {
    for (int i = 0; i < nr_turns; ++i) co_await loop.yield();
    co_return true;
  }
};

}  // namespace vmm::testing
