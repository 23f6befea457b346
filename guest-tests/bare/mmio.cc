// SPDX-License-Identifier: Apache-2.0
// A disk by virtio-mmio: its registers, its interrupt line, resets with requests in flight, and a
// driver that breaks every rule of the registers.
#include "guest-tests/bare/lib/virtio_mmio.h"

#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/interrupts.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/tap.h"

using namespace guest;

namespace {

namespace layout = vmm::x86::layout;

Rings rings;
alignas(512) std::uint8_t data[512];
constexpr VirtioMmioDevice disk(layout::kVirtioMmio);

std::uint32_t state = 1;
std::uint32_t dice() {
  state = state * 1664525 + 1013904223;
  return state >> 8;
}

bool works() {
  Queue queue(disk.at(mmio::kQueueNotify), rings);
  if (!disk.reset()) return false;
  queue.clear();
  return disk.start(kVersion1, rings) && run_blk(queue, kIn, 0, data, 512) == kBlkOk;
}

void reads_and_writes() {
  check(disk.is(2), "a disk is in the first window");
  check(VirtioMmioDevice(layout::kVirtioMmio + layout::kVirtioMmioSize).is(4),
        "random numbers are in the second");
  check_equal(read<std::uint32_t>(layout::kVirtioMmio + 2 * layout::kVirtioMmioSize), 0xffffffff,
              "and nothing is in the third");
  check_equal(read<std::uint64_t>(disk.at(mmio::kConfig)), (16 << 20) / 512, "its capacity");
  check((disk.features() & kVersion1) != 0, "it offers VERSION_1");

  enable_interrupts();
  route_pin(layout::kVirtioMmioGsis[0], kFirstVector);
  Queue queue(disk.at(mmio::kQueueNotify), rings);
  queue.clear();
  check(disk.start(kVersion1, rings), "it takes the features");
  for (std::uint8_t& byte : data) byte = 0x5a;
  check_equal(run_blk(queue, kOut, 2048, data, 512), kBlkOk, "a write");
  check(wait_for_interrupts(0, 1), "brings an interrupt");
  check_equal(disk.get(mmio::kInterruptStatus), 1, "for a used buffer");
  disk.set(mmio::kInterruptAck, 1);
  check_equal(disk.get(mmio::kInterruptStatus), 0, "which is acknowledged");
  for (std::uint8_t& byte : data) byte = 0;
  check_equal(run_blk(queue, kIn, 2048, data, 512), kBlkOk, "a read");
  check(wait_for_interrupts(0, 2), "brings another");
  check(data[0] == 0x5a && data[511] == 0x5a, "and what was written");
  check_equal(run_blk(queue, kFlush, 0, data, 0), kBlkOk, "a flush");
}

void changes_what_is_fixed() {
  disk.set(mmio::kQueueNum, 2);
  disk.set(mmio::kQueueDesc, 0);
  disk.set(mmio::kQueueReady, 0);
  disk.set(mmio::kDriverFeatures, 0xffffffff);
  check_equal(disk.get(mmio::kQueueReady), 1, "a live queue stays ready");
  check(works(), "and the disk works");
}

void resets_with_requests_in_flight() {
  bool good = true;
  for (int round = 0; round < 8; ++round) {
    Queue queue(disk.at(mmio::kQueueNotify), rings);
    queue.clear();
    good = good && disk.start(kVersion1, rings);
    send_blk(queue, round % 2 == 0 ? kIn : kFlush, 8, data, round % 2 == 0 ? 512 : 0);
    queue.kick();
    good = good && disk.reset();
    std::uint16_t used = queue.used_index();
    for (int i = 0; i < 100; ++i) dice();
    good = good && used <= 1 && queue.used_index() == used;
  }
  check(good, "after a reset nothing is in flight");
  check(works(), "and the disk works");
}

void storms() {
  for (int i = 0; i < 2000; ++i) {
    std::uint64_t at = layout::kVirtioMmio + (dice() & 0xffc);
    switch (dice() & 7) {
      case 0:
        write<std::uint64_t>(at, dice());
        break;
      case 1:
        write<std::uint16_t>(at + 2, static_cast<std::uint16_t>(dice()));
        break;
      case 2:
        write<std::uint8_t>(at + 3, static_cast<std::uint8_t>(dice()));
        break;
      case 3:
        read<std::uint64_t>(at);
        break;
      case 4:
        read<std::uint16_t>(at + 1);
        break;
      default:
        write<std::uint32_t>(layout::kVirtioMmio + (dice() & 0xfc), dice() & 0x1f);
        break;
    }
  }
  check(works(), "a storm on the registers passes");
}

}  // namespace

void guest_main() {
  reads_and_writes();
  changes_what_is_fixed();
  resets_with_requests_in_flight();
  storms();
  check(disk.reset(), "it resets");
}
