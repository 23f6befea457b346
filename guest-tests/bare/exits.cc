// SPDX-License-Identifier: Apache-2.0
// Accesses that leave the guest: ports and device memory, claimed and not, of every size.
#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/pci.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/timer.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

namespace layout = vmm::x86::layout;

void nobody_answers() {
  check_equal(in8(0x2f8 + 5), 0xff, "an unclaimed port reads ones, 1 byte");
  check_equal(in32(0x5f8), 0xffffffff, "an unclaimed port reads ones, 4 bytes");
  out32(0x5f8, 1);
  constexpr std::uint64_t kNowhere = layout::kPciWindow + layout::kPciWindowSize - 4096;
  check_equal(read<std::uint64_t>(kNowhere), ~std::uint64_t{0}, "unclaimed memory reads ones");
  write<std::uint16_t>(kNowhere, 1);
}

void finds_pci() {
  check_equal(in32(0xcf8) & 0x7fffffff, 0, "the configuration address starts at 0");
  check_equal(read_config(0, 8) >> 16, 0x0600, "a host bridge is at 00.0");
  check_equal(read_config(31, 0), 0xffffffff, "an empty slot reads ones");
  check_equal(read<std::uint32_t>(layout::kPciEcam), read_config(0, 0), "ECAM shows the same");
}

void tells_the_time() {
  out8(0x70, 0x32);
  check_equal(in8(0x71), 0x20, "the RTC's century is the 21st");
  std::uint32_t start = timer_ticks();
  while (timer_ticks() - start < 3580) {
  }
  check(true, "the PM timer runs");
}

void moves_a_bar(unsigned slot) {
  std::uint32_t base = read_config(slot, 0x10);
  write_config16(slot, 4, 0);
  check_equal(read<std::uint32_t>(base), 0xffffffff, "a BAR that is off answers nobody");
  write_config(slot, 0x10, 0xffffffff);
  std::uint32_t size = ~(read_config(slot, 0x10) & ~0xfu) + 1;
  check(size >= 0x1000 && (size & (size - 1)) == 0, "a BAR tells its size");
  write_config(slot, 0x10, base + 16 * size);
  write_config16(slot, 4, 2);
  check_equal(read<std::uint16_t>(base + 16 * size + kNumQueues), 1, "a BAR answers where it went");
  write_config(slot, 0x10, base);
}

}  // namespace

void guest_main() {
  nobody_answers();
  finds_pci();
  tells_the_time();
  VirtioDevice disk;
  check(disk.find(2), "a virtio block device is there");
  moves_a_bar(disk.slot());
}
