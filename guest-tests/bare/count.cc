// SPDX-License-Identifier: Apache-2.0
// Reads every 4 KiB of its disk once, each read kicked and polled: scripts/counts runs it on disks
// of two sizes, and what the larger one costs more is what the reads cost.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

constexpr std::uint32_t kSize = 4096;

Rings rings;
alignas(512) std::uint8_t data[kSize];

}  // namespace

void guest_main() {
  VirtioDevice disk;
  check(disk.find(2), "a virtio block device is there");
  check(disk.start(kVersion1, rings), "it takes the features");
  Queue queue(disk, rings);
  const std::uint32_t sectors = read<std::uint32_t>(disk.config());
  std::uint32_t failed = 0;
  for (std::uint32_t sector = 0; sector < sectors; sector += kSize / 512) {
    failed += run_blk(queue, kIn, sector, data, kSize) != kBlkOk;
  }
  check_equal(failed, 0, "all reads succeed");
  check(disk.reset(), "it resets");
}
