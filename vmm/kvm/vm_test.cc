// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vm.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "vmm/kvm/testing/tiny_guest.h"

using namespace vmm;
using namespace vmm::kvm;
using vmm::kvm::testing::TinyGuest;

TEST_CASE("Vm: a store to a bound address counts on the eventfd and never reaches the bus",
          "[kvm]") {
  TinyGuest guest({
      0xc6, 0x06, 0x10, 0x00, 0x55,  // mov byte [0x10], 0x55
      0xc6, 0x06, 0x20, 0x00, 0x66,  // mov byte [0x20], 0x66
      0xf4,                          // hlt
  });
  kvm_sregs sregs = *guest.vcpu->sregs();
  sregs.ds.base = 0xa0000000;
  REQUIRE(guest.vcpu->set_sregs(sregs));

  UniqueFd kick(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE(guest.vm->bind(GuestAddress(0xa0000010), kick.get()));
  guest.run();

  std::uint64_t count = 0;
  REQUIRE(::read(kick.get(), &count, sizeof count) == sizeof count);
  CHECK(count == 1);
  CHECK(guest.device.written == std::vector{std::byte{0x66}});
  CHECK(guest.vm->unbind(GuestAddress(0xa0000010), kick.get()));
  CHECK_FALSE(guest.vm->unbind(GuestAddress(0xa0000010), kick.get()));
}

TEST_CASE("Vm: a store of a bound value counts, and other values reach the bus", "[kvm]") {
  TinyGuest guest({
      0xc7, 0x06, 0x10, 0x00, 0x01, 0x00,           // mov word [0x10], 1
      0x66, 0xc7, 0x06, 0x10, 0x00, 0x01, 0, 0, 0,  // mov dword [0x10], 1
      0x66, 0xc7, 0x06, 0x10, 0x00, 0x02, 0, 0, 0,  // mov dword [0x10], 2
      0xf4,                                         // hlt
  });
  kvm_sregs sregs = *guest.vcpu->sregs();
  sregs.ds.base = 0xa0000000;
  REQUIRE(guest.vcpu->set_sregs(sregs));

  const GuestAddress address(0xa0000010);
  UniqueFd one(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      three(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE(guest.vm->bind_value(address, 1, one.get()));
  REQUIRE(guest.vm->bind_value(address, 3, three.get()));
  guest.run();

  std::uint64_t count = 0;
  REQUIRE(::read(one.get(), &count, sizeof count) == sizeof count);
  CHECK(count == 1);
  CHECK(::read(three.get(), &count, sizeof count) < 0);
  // The word, which is too short, and the other value.
  const std::vector<std::byte> others{std::byte{1}, std::byte{0}, std::byte{2},
                                      std::byte{0}, std::byte{0}, std::byte{0}};
  CHECK(guest.device.written == others);
  CHECK_FALSE(guest.vm->unbind_value(address, 2, one.get()));
  CHECK(guest.vm->unbind_value(address, 1, one.get()));
}

TEST_CASE("Vm: vectors can be programmed again and again, and their GSIs are used again", "[kvm]") {
  Kvm kvm = *Kvm::open();
  std::unique_ptr<Vm> vm = *Vm::create(kvm);
  REQUIRE(vm->create_irqchip());
  std::vector<std::unique_ptr<MsiVector>> vectors;
  for (int round = 0; round < 3; ++round) {
    vectors.clear();
    for (std::uint32_t i = 0; i < 40; ++i) {
      vectors.push_back(*vm->create_vector());
      vectors.back()->signal();  // not programmed yet: goes nowhere
      REQUIRE(vectors.back()->program(0xfee00000, 0x40 + i));
      REQUIRE(vectors.back()->program(0xfee01000, 0x40 + i));
      vectors.back()->signal();
    }
  }
}

TEST_CASE("Vm: a guest-controlled MSI address that is no interrupt window is accepted", "[kvm]") {
  Kvm kvm = *Kvm::open();
  std::unique_ptr<Vm> vm = *Vm::create(kvm);
  REQUIRE(vm->create_irqchip());
  std::unique_ptr<MsiVector> vector = *vm->create_vector();
  CHECK(vector->program(0x1234, 0xffffffff));
  CHECK(vector->program(0, 0));
  vector->signal();
}

namespace {

// Port 0x10: the guest says that it is ready. Port 0x11: its interrupt handler ran.
class Handshake : public BusDevice {
 public:
  void read(std::uint64_t, std::span<std::byte> data) override { data[0] = std::byte{0}; }
  void write(std::uint64_t offset, std::span<const std::byte>) override {
    if (offset == 0) vector->signal();
    if (offset == 1) {
      handled = true;
      vcpu->request_stop();
    }
  }

  MsiVector* vector = nullptr;
  Vcpu* vcpu = nullptr;
  bool handled = false;
};

}  // namespace

TEST_CASE("Vm: a signalled vector interrupts the guest", "[kvm]") {
  TinyGuest guest(
      {
          0x66, 0xc7, 0x06, 0xf0, 0x00, 0xff, 0x01, 0x00, 0x00,  // mov dword [0xf0], 0x1ff
          0xe6, 0x30,                                            // out 0x30, al
          0xfb,                                                  // sti
          0xf4,                                                  // hlt
          0xeb, 0xfd,                                            // jmp to hlt
          0x90,                                                  // nop
          0xe6, 0x31,                                            // 0x1010: out 0x31, al
          0xf4,                                                  // hlt
      },
      /*with_irqchip=*/true);
  const std::uint16_t handler[2] = {0x1010, 0};
  REQUIRE(guest.memory.write(GuestAddress(0x21 * 4), std::as_bytes(std::span(handler))));
  kvm_sregs sregs = *guest.vcpu->sregs();
  sregs.ds.base = 0xfee00000;  // the local APIC, whose register 0xf0 enables it
  REQUIRE(guest.vcpu->set_sregs(sregs));

  std::unique_ptr<MsiVector> vector = *guest.vm->create_vector();
  REQUIRE(vector->program(0xfee00000, 0x21));
  Handshake handshake;
  handshake.vector = vector.get();
  handshake.vcpu = guest.vcpu.get();
  REQUIRE(guest.ports.insert(0x30, 2, handshake));
  CHECK(guest.run().kind == VcpuEnd::Kind::kStopped);
  CHECK(handshake.handled);
}
