// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "devices/pci/msix.h"
#include "devices/pci/root.h"
#include "devices/testing/fake_interrupt.h"
#include "devices/testing/pci_driver.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::pci {
namespace {

using testing::PciBuses;

// A device with a BAR that is a bit of memory.
class Scratch final : public Device {
 public:
  explicit Scratch(std::uint32_t bar_size = 0x1000)
      : Device({.vendor = 0x1234, .device = 0x5678, .class_code = 0x0a0b0c, .revision = 7}) {
    add_bar(0, bar_size);
    std::byte body[4]{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    std::byte writable[4]{std::byte{0}, std::byte{0xf0}};
    capability = add_capability(0x09, body, writable);
  }
  void read_bar(unsigned, std::uint64_t offset, std::span<std::byte> data) override {
    last_offset = offset;
    for (std::byte& byte : data) byte = memory;
  }
  void write_bar(unsigned, std::uint64_t offset, std::span<const std::byte> data) override {
    last_offset = offset;
    memory = data[0];
  }
  void on_bar_moved(unsigned) override { ++nr_moves; }

  unsigned capability = 0;
  std::byte memory{};
  std::uint64_t last_offset = 0;
  int nr_moves = 0;
};

struct Bench {
  Root root{{PciBuses::kWindow, PciBuses::kWindowSize}};
  PciBuses buses{root};
};

TEST_CASE("pci::Root: a guest finds the host bridge and what is attached, by ports and ECAM",
          "[pci]") {
  Bench bench;
  Scratch device;
  REQUIRE(*bench.root.attach(device) == 1);
  CHECK(bench.buses.read_config(0, 0x0a, 2) == 0x0600);  // a host bridge
  CHECK(bench.buses.read_config(1, 0, 4) == 0x56781234);
  CHECK(bench.buses.read_config(1, 8, 4) == 0x0a0b0c07);
  CHECK(bench.buses.read_config(2, 0, 4) == 0xffffffff);
  CHECK(bench.buses.read(PciBuses::kEcam + (1 << 15), 4) == 0x56781234);
  CHECK(bench.buses.read(PciBuses::kEcam + (1 << 15) + (1 << 12), 4) == 0xffffffff);  // function 1
  CHECK(bench.buses.read(PciBuses::kEcam + (1 << 15) + 0x100, 4) == 0);
  CHECK(bench.buses.read(PciBuses::kEcam + (2 << 15), 2) == 0xffff);
}

TEST_CASE("pci::Root: mechanism #1 needs its enable bit, and only double words set the address",
          "[pci]") {
  Bench bench;
  std::array<std::byte, 4> data;
  store_le(data.data(), std::uint32_t{0x80000000});
  bench.buses.ports.write(0xcf8, data);
  std::array<std::byte, 1> byte{std::byte{0x55}};
  bench.buses.ports.write(0xcfb, byte);
  bench.buses.ports.read(0xcf8, data);
  CHECK(load_le<std::uint32_t>(data.data()) == 0x80000000);

  store_le(data.data(), std::uint32_t{0});
  bench.buses.ports.write(0xcf8, data);
  bench.buses.ports.read(0xcfc, data);
  CHECK(load_le<std::uint32_t>(data.data()) == 0xffffffff);
  store_le(data.data(), std::uint32_t{0x80010000});  // bus 1
  bench.buses.ports.write(0xcf8, data);
  bench.buses.ports.read(0xcfc, data);
  CHECK(load_le<std::uint32_t>(data.data()) == 0xffffffff);
}

TEST_CASE("pci::Device: only what may be written changes", "[pci]") {
  Bench bench;
  Scratch device;
  REQUIRE(bench.root.attach(device));
  for (unsigned offset = 0; offset < 256; offset += 4) {
    if (offset == 0x10 || offset == 4) continue;
    bench.buses.write_config(1, offset, 4, 0xffffffff);
  }
  CHECK(bench.buses.read_config(1, 0, 4) == 0x56781234);
  CHECK(bench.buses.read_config(1, 0x34, 1) == device.capability);
  CHECK(bench.buses.read_config(1, device.capability, 4) == 0xf2010009);
  CHECK(bench.buses.read_config(1, 0x3c, 2) == 0x00ff);  // interrupt line, no pin
  CHECK(bench.buses.read_config(1, 0x14, 4) == 0);       // no such BAR
}

TEST_CASE("pci::Device: a BAR tells its size, moves, and answers only while memory is decoded",
          "[pci]") {
  Bench bench;
  Scratch first, second;
  REQUIRE(bench.root.attach(first));
  REQUIRE(bench.root.attach(second));
  std::uint32_t base = bench.buses.read_config(1, 0x10, 4);
  CHECK(base == PciBuses::kWindow);
  CHECK(bench.buses.read_config(2, 0x10, 4) == PciBuses::kWindow + 0x1000);

  bench.buses.write(base + 0x20, 1, 0xab);
  CHECK(first.last_offset == 0x20);
  CHECK(bench.buses.read(base + 0xfff, 1) == 0xab);
  CHECK(bench.buses.read(base + 0xffe, 4) == 0xffffffff);  // leaves the BAR

  // Sizing, as every guest does it.
  bench.buses.write_config(1, 4, 2, 0);
  CHECK(bench.buses.read(base, 1) == 0xff);
  bench.buses.write_config(1, 0x10, 4, 0xffffffff);
  CHECK(bench.buses.read_config(1, 0x10, 4) == 0xfffff000);
  bench.buses.write_config(1, 0x10, 4, base + 0x100000);
  bench.buses.write_config(1, 4, 2, 2);
  CHECK(bench.buses.read(base, 1) == 0xff);
  CHECK(bench.buses.read(base + 0x100000, 1) == 0xab);
  CHECK(first.bar_base(0) == base + 0x100000);
  CHECK(first.nr_moves == 3);  // placed, off, on

  // On top of the other one, and outside of the window: nobody is harmed.
  bench.buses.write_config(1, 0x10, 4, base + 0x1000);
  bench.buses.write(base + 0x1000, 1, 0x11);
  bench.buses.write_config(1, 0x10, 4, 0x1000);
  CHECK(bench.buses.read(base + 0x100000, 1) == 0xff);
  CHECK(bench.buses.read(base + 0x1000, 1) == 0);
}

TEST_CASE("pci::Root: a full bus and a full window refuse", "[pci]") {
  Bench bench;
  std::vector<std::unique_ptr<Scratch>> devices;
  for (unsigned i = 1; i < Root::kNrSlots; ++i) {
    devices.push_back(std::make_unique<Scratch>());
    REQUIRE(*bench.root.attach(*devices.back()) == i);
  }
  Scratch one_more;
  Result<unsigned> refused = bench.root.attach(one_more);
  REQUIRE(!refused);
  CHECK(refused.error().message().find("31 devices") != std::string::npos);

  Root small({0xd0000000, 0x2000});
  Scratch big(0x2000), too_much(0x1000);
  REQUIRE(small.attach(big));
  CHECK(!small.attach(too_much));
}

struct MsixBench {
  testing::FakeMsiController controller;
  std::unique_ptr<Msix> msix = *Msix::create(controller, 3);

  void write(std::uint64_t offset, std::uint32_t value) {
    std::byte data[4];
    store_le(data, value);
    msix->write_table(offset, data);
  }
  std::uint32_t read(std::uint64_t offset) {
    std::byte data[4];
    msix->read_table(offset, data);
    return load_le<std::uint32_t>(data);
  }
  std::uint64_t pending() {
    std::byte data[8];
    msix->read_pending(0, data);
    return load_le<std::uint64_t>(data);
  }
  void program(unsigned vector, std::uint32_t address, std::uint32_t data, bool masked) {
    write(16 * vector, address);
    write(16 * vector + 4, 0);
    write(16 * vector + 8, data);
    write(16 * vector + 12, masked ? 1 : 0);
  }
};

TEST_CASE("Msix: an unmasked vector sends what it was programmed with", "[pci]") {
  MsixBench bench;
  bench.msix->set_control(Msix::kControlEnable);
  bench.program(1, 0xfee00000, 0x4021, false);
  bench.msix->signal(1);
  CHECK(bench.controller.messages[1]->address == 0xfee00000);
  CHECK(bench.controller.messages[1]->data == 0x4021);
  CHECK(bench.controller.messages[1]->nr_signals == 1);
  CHECK(bench.pending() == 0);
  CHECK(bench.read(16 + 8) == 0x4021);
  CHECK(bench.read(12) == 1);  // masked at start
}

TEST_CASE("Msix: a masked vector stays pending and is sent once when unmasked, to its new place",
          "[pci]") {
  MsixBench bench;
  bench.msix->set_control(Msix::kControlEnable);
  bench.program(2, 0xfee00000, 1, true);
  bench.msix->signal(2);
  bench.msix->signal(2);
  CHECK(bench.controller.messages[2]->nr_signals == 0);
  CHECK(bench.pending() == 4);
  bench.program(2, 0xfee01000, 2, false);
  CHECK(bench.controller.messages[2]->nr_signals == 1);
  CHECK(bench.controller.messages[2]->address == 0xfee01000);
  CHECK(bench.pending() == 0);
}

TEST_CASE("Msix: the function mask and the enable bit hold back every vector", "[pci]") {
  MsixBench bench;
  bench.program(0, 0xfee00000, 1, false);
  bench.msix->signal(0);
  CHECK(bench.controller.messages[0]->nr_signals == 0);
  bench.msix->set_control(Msix::kControlEnable | Msix::kControlFunctionMask);
  CHECK(bench.controller.messages[0]->nr_signals == 0);
  bench.msix->set_control(Msix::kControlEnable);
  CHECK(bench.controller.messages[0]->nr_signals == 1);
}

TEST_CASE("Msix: a table written to again and again is programmed only when it changed", "[pci]") {
  MsixBench bench;
  bench.msix->set_control(Msix::kControlEnable);
  bench.program(0, 0xfee00000, 1, false);
  unsigned programmed = bench.controller.messages[0]->nr_programmed;
  for (int i = 0; i < 10; ++i) bench.write(12, static_cast<std::uint32_t>(i % 2));
  bench.write(12, 0);
  CHECK(bench.controller.messages[0]->nr_programmed == programmed);
}

TEST_CASE("Msix: odd accesses to the table do nothing", "[pci]") {
  MsixBench bench;
  std::byte data[8]{};
  for (std::uint64_t offset = 0; offset < 0x2000; ++offset) {
    for (std::size_t size : {1, 2, 3, 4, 8}) {
      if ((size == 4 || size == 8) && offset % size == 0 && offset < 48) continue;
      bench.msix->write_table(offset, std::span(data).first(size));
      bench.msix->read_table(offset, std::span(data).first(size));
    }
  }
  bench.msix->read_pending(0x1ff8, data);
  for (unsigned vector = 0; vector < 3; ++vector) CHECK(bench.read(16 * vector + 12) == 1);
}

TEST_CASE("Msix: no interrupt is lost between a signalling thread and a masking one", "[pci]") {
  MsixBench bench;
  bench.msix->set_control(Msix::kControlEnable);
  bench.program(0, 0xfee00000, 1, false);
  constexpr unsigned kRounds = 20000;
  std::atomic<unsigned> signalled = 0, seen = 0;
  // One signal at a time, each waited for: a lost one would never arrive.
  std::thread signaller([&] {
    for (unsigned i = 1; i <= kRounds; ++i) {
      bench.msix->signal(0);
      signalled = i;
      while (seen < i) std::this_thread::yield();
    }
  });
  for (unsigned i = 1; i <= kRounds; ++i) {
    do {
      bench.write(12, 1);
      bench.write(12, 0);
    } while (signalled < i);
    bench.write(12, 0);
    if (bench.controller.messages[0]->nr_signals != i) {
      FAIL("interrupt " << i << " was lost or doubled");
    }
    seen = i;
  }
  signaller.join();
}

}  // namespace
}  // namespace vmm::pci
