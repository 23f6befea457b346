// SPDX-License-Identifier: Apache-2.0
// A driver that changes what is fixed, resets at bad times, points MSI-X anywhere, and storms ports
// and device memory. The machine lives on, and the disk works at the end.
#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/pci.h"
#include "guest-tests/bare/lib/tap.h"
#include "guest-tests/bare/lib/virtio.h"

using namespace guest;

namespace {

namespace layout = vmm::x86::layout;

Rings rings;
VirtioDevice disk;
alignas(512) std::uint8_t data[512];

std::uint32_t state = 1;
std::uint32_t dice() {
  state = state * 1664525 + 1013904223;
  return state >> 8;
}

bool works() {
  Queue queue(disk, rings);
  if (!disk.reset()) return false;
  queue.clear();
  return disk.start(kVersion1, rings) && run_blk(queue, kIn, 0, data, 512) == kBlkOk;
}

void changes_what_is_fixed() {
  Queue queue(disk, rings);
  check(works(), "the disk works");
  write<std::uint16_t>(disk.common(kQueueSelect), 0);
  write<std::uint16_t>(disk.common(kQueueSizeRegister), 2);
  write<std::uint32_t>(disk.common(kQueueDesc), 0);
  write<std::uint32_t>(disk.common(kQueueDriver) + 4, 0xffffffff);
  write<std::uint16_t>(disk.common(kQueueEnable), 0);
  write<std::uint32_t>(disk.common(kDriverFeature), 0xffffffff);
  check_equal(read<std::uint16_t>(disk.common(kQueueSizeRegister)), kQueueSize,
              "the size of a live queue is fixed");
  check_equal(read<std::uint32_t>(disk.common(kQueueDesc)), address_of(rings), "and where it is");
  check_equal(read<std::uint16_t>(disk.common(kQueueEnable)), 1, "and that it is enabled");
  check(works(), "the disk still works");
}

void resets_with_requests_in_flight() {
  bool good = true;
  for (int round = 0; round < 8; ++round) {
    Queue queue(disk, rings);
    queue.clear();
    good = good && disk.start(kVersion1, rings);
    send_blk(queue, round % 2 == 0 ? kOut : kFlush, 8, data, round % 2 == 0 ? 512 : 0);
    queue.kick();
    good = good && disk.reset();
    std::uint16_t used = queue.used_index();
    good = good && used <= 1 && queue.used_index() == used;
  }
  check(good, "resets with requests in flight end");
  check(works(), "and the disk works");
}

void points_msix_anywhere() {
  disk.enable_msix();
  struct {
    std::uint64_t address;
    std::uint32_t data;
  } const messages[] = {{0, 0},
                        {0xffffffffffffffff, 0xffffffff},
                        {0xfee00000, 0},
                        {0xfeeffffc, 0xffff},
                        {address_of(rings), 1},
                        {std::uint64_t{1} << 40, 2}};
  bool good = true;
  for (const auto& message : messages) {
    disk.reset();
    Queue queue(disk, rings);
    queue.clear();
    disk.set_vector(1, message.address, message.data, false);
    disk.start(kVersion1, rings, 1);
    good = good && run_blk(queue, kIn, 0, data, 512) == kBlkOk;
  }
  check(good, "MSI-X messages to anywhere hurt nobody");
  write<std::uint16_t>(disk.common(kQueueVector), 0x1234);
  check_equal(read<std::uint16_t>(disk.common(kQueueVector)), 0xffff,
              "a vector that is not there reads back as none");
}

void storms_memory() {
  std::uint64_t base = bar_address(disk.slot(), 0);
  disk.reset();
  for (int i = 0; i < 2000; ++i) {
    std::uint64_t at = base + (dice() & 0x7ffc);
    switch (dice() & 7) {
      case 0:
        write<std::uint64_t>(at, dice());
        break;
      case 1:
        write<std::uint32_t>(at, dice());
        break;
      case 2:
        write<std::uint16_t>(at + 2, static_cast<std::uint16_t>(dice()));
        break;
      case 3:
        write<std::uint8_t>(at + 3, static_cast<std::uint8_t>(dice()));
        break;
      case 4:
        read<std::uint64_t>(at + 3);
        break;
      case 5:
        read<std::uint16_t>(at + 1);
        break;
      default:
        write<std::uint32_t>(base + (dice() & 0x3c), dice() & 0x1f);
        break;
    }
  }
  disk.find(2);
  check(works(), "a storm on device memory passes");
}

// Power off and reset are among the ports, and this guest wants to live: those are left out.
void storms_ports() {
  for (int i = 0; i < 2000; ++i) {
    auto port = static_cast<std::uint16_t>(dice());
    bool ends_the_run = port >= layout::kAcpiPmPort && port < layout::kAcpiPmPort + 16;
    ends_the_run = ends_the_run || port == 0x64 || port == 0x61 || port == 0x92;
    bool is_console = port >= layout::kCom1Port - 3 && port < layout::kCom1Port + 8;
    bool is_pci = port >= 0xcf4 && port < 0xd00;
    if (ends_the_run || is_console || is_pci || port == 0xf4) continue;
    if ((i & 1) != 0) {
      out8(port, static_cast<std::uint8_t>(dice()));
    } else {
      in32(port);
    }
  }
  check(works(), "a storm on ports passes");
}

void storms_config() {
  std::uint32_t bar = read_config(disk.slot(), 0x10);
  for (int i = 0; i < 1000; ++i) {
    unsigned offset = dice() & 0xfc;
    if ((i & 3) == 0) {
      write_config(disk.slot(), offset, dice());
    } else {
      read_config(dice() & 31, offset);
    }
  }
  write_config(disk.slot(), 0x10, bar);
  disk.find(2);
  check(works(), "a storm on PCI configuration passes");
}

}  // namespace

void guest_main() {
  check(disk.find(2), "a virtio block device is there");
  changes_what_is_fixed();
  resets_with_requests_in_flight();
  points_msix_anywhere();
  storms_memory();
  storms_ports();
  storms_config();
}
