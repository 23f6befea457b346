// SPDX-License-Identifier: Apache-2.0
// BlkBench: a DeviceBench for virtio-blk, with a disk of bytes behind it, for tests of the whole
// road of a request.
#pragma once

#include <string>
#include <vector>

#include "devices/testing/device_bench.h"
#include "devices/testing/memory_disk.h"
#include "devices/virtio/blk.h"

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

class BlkBench : public DeviceBench {
 public:
  static constexpr std::uint64_t kAllFeatures =
      kRingFeatures | virtio::kBlkFlush | virtio::kBlkConfigWce | virtio::kBlkDiscard |
      virtio::kBlkWriteZeroes | virtio::kBlkSegMax | virtio::kBlkBlockSize | virtio::kBlkTopology;

  explicit BlkBench(EventLoop& event_loop, BlkBenchOptions options = {});
  ~BlkBench() { transport.reset(); }

  void start(std::uint64_t features = kAllFeatures) { DeviceBench::start(features); }

  BlkCommand command(virtio::BlkType type, std::uint64_t sector, std::uint32_t length);
  BlkCommand unknown_command(std::uint32_t type);
  BlkCommand range_command(virtio::BlkType type, std::uint64_t sector, std::uint32_t nr_sectors,
                           std::uint32_t flags = 0);
  std::uint8_t status_of(const BlkCommand& command) const;

  // For those who drive the loop themselves: adds, kicks and waits for the answer: the status byte,
  // or 0xee where there was none.
  std::uint8_t run(const BlkCommand& command, Used* used = nullptr);

  MemoryDisk disk;
  virtio::Blk blk;
};

}  // namespace vmm::testing
