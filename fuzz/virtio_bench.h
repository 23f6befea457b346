// SPDX-License-Identifier: Apache-2.0
// A PCI root with a virtio-blk device on a memory disk, another such device as virtio-mmio, and the
// loop that serves both, all on one thread: an input always takes the same path.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "devices/pci/root.h"
#include "devices/testing/fake_interrupt.h"
#include "devices/testing/memory_disk.h"
#include "devices/testing/mmio_driver.h"
#include "devices/testing/pci_driver.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/pci_transport.h"
#include "vmm/io/throttle.h"

namespace vmm::fuzz {

class VirtioBench {
 public:
  static constexpr std::uint64_t kRam = 64 << 10;  // bytes of each of the two regions
  static constexpr std::uint64_t kSecondRegion = 1 << 20;
  static constexpr std::uint64_t kDiskSize = 32 << 10;
  static constexpr std::uint64_t kMmio = 0xc0000000;  // where the second device is

  VirtioBench(EventLoop& loop, GuestMemory& memory, bool read_only, std::uint16_t nr_queues,
              std::uint16_t queue_size)
      : loop_(loop),
        disk(loop, kDiskSize, read_only),
        blk_(options(nr_queues, queue_size), disk, loop, memory, *Throttle::make_timer()),
        transport_(*virtio::PciTransport::create(blk_, msi_, &kicks)),
        mmio_blk_(options(nr_queues, queue_size), disk, loop, memory, *Throttle::make_timer()),
        mmio_transport_(*virtio::MmioTransport::create(mmio_blk_, line_, &kicks,
                                                       GuestAddress(kMmio), kNoPatience)) {
    for (const GuestMemory::Region& region : memory.regions()) {
      std::memset(region.host, 0, region.size);
    }
    std::fill(disk.bytes.begin(), disk.bytes.end(), std::byte{0x5a});
    slot = *root_.attach(*transport_);
    if (!buses.mmio.insert(kMmio, virtio::MmioTransport::kSize, *mmio_transport_)) {
      wrong("the second device has no place");
    }
  }

  // Whatever the guest did: a reset ends, and nothing of the device moves afterwards.
  ~VirtioBench() {
    disk.release();
    disk.fail_with = 0;
    restore_bar();
    reset(testing::PciDriver(buses, slot, &kicks));
    reset(testing::MmioDriver(buses.mmio, kMmio, &kicks));
    if (disk.nr_waiting() != 0) wrong("a request outlives the reset");
    if (disk.read_only()) {
      for (std::byte byte : disk.bytes) {
        if (byte != std::byte{0x5a}) wrong("a read-only disk was written");
      }
    }
  }

  [[noreturn]] static void wrong(const char* what) {
    std::fprintf(stderr, "virtio fuzzer: %s\n", what);
    std::abort();
  }

  void turn(unsigned count) { loop_.run_until(turns(loop_, count)); }

 private:
  // The thread that would end a reset is the one that would wait for it.
  static constexpr std::chrono::milliseconds kNoPatience{0};

  static virtio::BlkOptions options(std::uint16_t nr_queues, std::uint16_t queue_size) {
    return {.name = "fuzz",
            .id = "fuzz-disk-with-a-long-serial",
            .nr_queues = nr_queues,
            .queue_size = queue_size};
  }

  template <typename Driver>
  void reset(const Driver& driver) {
    for (unsigned i = 0; driver.status() != 0 || i == 0; ++i) {
      if (i > 10000) wrong("a reset does not end");
      driver.set_status(0);
      turn(1);
    }
  }

  static Task<void> turns(EventLoop& loop, unsigned count) {
    for (; count > 0; --count) co_await loop.yield();
  }

  // The input may have moved the BAR away, or switched it off.
  void restore_bar() {
    buses.write_config(slot, 0x10, 4, testing::PciBuses::kWindow);
    buses.write_config(slot, 4, 2, 2);
  }

  EventLoop& loop_;

 public:
  testing::MemoryDisk disk;
  testing::FakeKickRegistrar kicks;

 private:
  testing::FakeMsiController msi_;
  virtio::Blk blk_;
  std::unique_ptr<virtio::PciTransport> transport_;
  testing::FakeInterrupt line_;
  virtio::Blk mmio_blk_;
  std::unique_ptr<virtio::MmioTransport> mmio_transport_;
  pci::Root root_{{testing::PciBuses::kWindow, testing::PciBuses::kWindowSize}};

 public:
  testing::PciBuses buses{root_};
  unsigned slot = 0;
};

inline GuestMemory& fuzz_memory() {
  static const GuestMemory::Range ranges[] = {
      {GuestAddress(0), VirtioBench::kRam},
      {GuestAddress(VirtioBench::kSecondRegion), VirtioBench::kRam}};
  static GuestMemory memory = *GuestMemory::create(ranges);
  return memory;
}

}  // namespace vmm::fuzz
