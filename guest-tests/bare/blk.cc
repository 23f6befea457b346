// SPDX-License-Identifier: Apache-2.0
// A virtio block device, polled: every kind of request. The runner looks at the image afterwards.
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

constexpr std::uint32_t kSize = 4096;
constexpr std::uint64_t kMiBSectors = 2048;

Rings rings;
alignas(512) std::uint64_t data[kSize / 8];

void fill(std::uint64_t value) {
  for (std::uint64_t& word : data) word = value;
}
bool filled(std::uint64_t value) {
  for (std::uint64_t word : data) {
    if (word != value) return false;
  }
  return true;
}

void reads_and_writes(Queue& queue) {
  fill(~std::uint64_t{0});
  check_equal(run_blk(queue, kIn, kMiBSectors, data, kSize), kBlkOk, "a fresh disk can be read");
  check(filled(0), "it reads as zeros");
  // What the runner expects to find: 0x5a at 1 MiB.
  fill(0x5a5a5a5a5a5a5a5a);
  check_equal(run_blk(queue, kOut, kMiBSectors, data, kSize), kBlkOk, "a write succeeds");
  fill(0);
  check_equal(run_blk(queue, kIn, kMiBSectors, data, kSize), kBlkOk, "a read succeeds");
  check(filled(0x5a5a5a5a5a5a5a5a), "it gives what was written");
  check_equal(run_blk(queue, kFlush, 0, nullptr, 0), kBlkOk, "a flush succeeds");
}

void frees_and_zeroes(Queue& queue) {
  struct {
    std::uint64_t sector;
    std::uint32_t nr_sectors, flags;
  } range{3 * kMiBSectors, 2048, 0};
  fill(0x77);
  check_equal(run_blk(queue, kOut, 3 * kMiBSectors, data, kSize), kBlkOk, "a write at 3 MiB");
  check_equal(run_blk(queue, kDiscard, 0, &range, sizeof range), kBlkOk, "a discard succeeds");
  check_equal(run_blk(queue, kIn, 3 * kMiBSectors, data, kSize), kBlkOk, "and can be read");
  check(filled(0), "as zeros");

  fill(0x77);
  check_equal(run_blk(queue, kOut, 5 * kMiBSectors, data, kSize), kBlkOk, "a write at 5 MiB");
  range = {5 * kMiBSectors, 4, 0};
  check_equal(run_blk(queue, kWriteZeroes, 0, &range, sizeof range), kBlkOk, "write zeroes");
  check_equal(run_blk(queue, kIn, 5 * kMiBSectors, data, kSize), kBlkOk, "and can be read");
  check(data[0] == 0 && data[255] == 0 && data[256] == 0x77, "zeros, and no further");
}

void refuses(Queue& queue, const VirtioDevice& disk) {
  std::uint64_t sectors = read<std::uint32_t>(disk.config()) |
                          std::uint64_t{read<std::uint32_t>(disk.config() + 4)} << 32;
  check(sectors > 0, "the disk has a size");
  check_equal(run_blk(queue, kIn, sectors, data, 512), kBlkIoError, "a read beyond the end");
  check_equal(run_blk(queue, kOut, sectors - 1, data, 1024), kBlkIoError, "a write over the end");
  check_equal(run_blk(queue, kIn, ~std::uint64_t{0}, data, 512), kBlkIoError, "an absurd sector");
  check_equal(run_blk(queue, kIn, 0, data, 511), kBlkIoError, "part of a sector");
  check_equal(run_blk(queue, 99, 0, data, 512), kBlkUnsupported, "an unknown request");
  check_equal(run_blk(queue, kGetId, 0, data, 20), kBlkOk, "the id can be read");
  check_equal(run_blk(queue, kIn, sectors - 1, data, 512), kBlkOk, "the last sector can be read");
}

}  // namespace

void guest_main() {
  VirtioDevice disk;
  check(disk.find(2), "a virtio block device is there");
  check(disk.start(kVersion1 | (disk.features() & (1 << 9 | 1 << 13 | 1 << 14)), rings),
        "it takes the features");
  Queue queue(disk, rings);
  reads_and_writes(queue);
  frees_and_zeroes(queue);
  refuses(queue, disk);
  check(disk.reset(), "it resets");
}
