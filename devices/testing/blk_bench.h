// SPDX-License-Identifier: Apache-2.0
// BlkBench: a virtio-blk device on a PCI bus with a guest driver in front of it and a disk of bytes
// behind it, for tests of the whole road of a request.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/testing/memory_disk.h"
#include "devices/testing/pci_driver.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/pci_transport.h"

namespace vmm::testing {

// One request in guest memory, and where its parts are.
struct BlkCommand {
  GuestAddress header;
  GuestAddress data;
  std::uint32_t length = 0;  // bytes of data
  bool data_writable = false;
  GuestAddress status;

  std::vector<Buffer> buffers() const;
};

struct BlkBenchOptions {
  std::uint64_t disk_size = 1 << 20;
  bool read_only = false;
  bool ioeventfd = true;
  virtio::BlkOptions blk = {.name = "test.img", .id = "disk-0001", .queue_size = 16};
};

class BlkBench {
 public:
  static constexpr std::uint64_t kMemory = 16 << 20;
  static constexpr std::uint64_t kAllFeatures =
      virtio::kFeatureVersion1 | virtio::kFeatureEventIdx | virtio::kFeatureIndirectDesc |
      virtio::kBlkFlush | virtio::kBlkConfigWce | virtio::kBlkDiscard | virtio::kBlkWriteZeroes |
      virtio::kBlkSegMax | virtio::kBlkBlockSize | virtio::kBlkTopology;

  // `loop` may run on a thread of its own: then only what a guest can do may be used.
  explicit BlkBench(EventLoop& event_loop, BlkBenchOptions options = {});

  // Resets, negotiates, sets up all queues and says DRIVER_OK.
  void start(std::uint64_t features = kAllFeatures);
  QueueDriver& queue(unsigned index = 0) { return *queues[index]; }

  BlkCommand command(virtio::BlkType type, std::uint64_t sector, std::uint32_t length);
  BlkCommand unknown_command(std::uint32_t type);
  BlkCommand range_command(virtio::BlkType type, std::uint64_t sector, std::uint32_t nr_sectors,
                           std::uint32_t flags = 0);
  void fill(GuestAddress at, std::uint32_t length, std::uint8_t value);
  bool filled(GuestAddress at, std::uint32_t length, std::uint8_t value) const;
  std::uint8_t status_of(const BlkCommand& command) const;

  // For those who drive the loop themselves. Adds, kicks and waits for the answer: the status byte,
  // or 0xee where there was none.
  std::uint8_t run(const BlkCommand& command, Used* used = nullptr);
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
  MemoryDisk disk;
  pci::Root root{{PciBuses::kWindow, PciBuses::kWindowSize}};
  PciBuses buses{root};
  virtio::Blk blk;
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
