// SPDX-License-Identifier: Apache-2.0
// Completions by MSI-X: from the disk's thread over an irqfd to the local APIC.
#include "guest-tests/bare/lib/interrupts.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/timer.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

Rings rings;
alignas(512) std::uint8_t data[512];

}  // namespace

void guest_main() {
  enable_interrupts();
  VirtioDevice disk;
  check(disk.find(2), "a virtio block device is there");
  disk.enable_msix();
  disk.set_vector(1, msi_address(), msi_data(1), false);
  check(disk.start(kVersion1, rings, 1), "it takes the features");
  Queue queue(disk, rings);

  check_equal(run_blk(queue, kIn, 0, data, 512), kBlkOk, "a read");
  check(wait_for_interrupts(1, 1), "brings an interrupt");

  disk.set_vector(1, msi_address(), msi_data(1), true);
  check_equal(run_blk(queue, kIn, 0, data, 512), kBlkOk, "a read while the vector is masked");
  std::uint32_t start = timer_ticks();
  while (timer_ticks() - start < 100000) {
  }
  check_equal(nr_interrupts(1), 1, "brings none");
  disk.set_vector(1, msi_address(), msi_data(2), false);
  check(wait_for_interrupts(2, 1), "until it is unmasked, and then the new vector");

  rings.avail.flags = 1;
  check_equal(run_blk(queue, kIn, 0, data, 512), kBlkOk, "a read by a driver that polls");
  rings.avail.flags = 0;
  check_equal(run_blk(queue, kIn, 0, data, 512), kBlkOk, "and by one that does not");
  check(wait_for_interrupts(2, 2), "bring one interrupt");
  check_equal(nr_interrupts(2), 2, "and no more");
  check(disk.reset(), "it resets");
}
