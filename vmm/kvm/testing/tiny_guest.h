// SPDX-License-Identifier: Apache-2.0
// A guest of a few bytes of real-mode code, for tests of what KVM does with it.
#pragma once

#include <cstring>
#include <initializer_list>
#include <memory>

#include "vmm/core/bus.h"
#include "vmm/core/testing/catch.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

namespace vmm::kvm::testing {

inline constexpr GuestAddress kCodeAddress{0x1000};

// Remembers what was written to it, and answers reads with a counter.
class RecordingDevice : public BusDevice {
 public:
  void read(std::uint64_t, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = static_cast<std::byte>(next_++);
  }
  void write(std::uint64_t offset, std::span<const std::byte> data) override {
    last_offset = offset;
    written.insert(written.end(), data.begin(), data.end());
  }

  std::uint64_t last_offset = 0;
  std::vector<std::byte> written;

 private:
  std::uint8_t next_ = 0x41;
};

// 1 MiB of memory with `code` at kCodeAddress, in real mode with segments at 0. Ports 0x10 to 0x1f
// and the page at 0xa0000000 are `device`.
struct TinyGuest {
  explicit TinyGuest(std::initializer_list<int> code, bool with_irqchip = false) {
    std::byte* at = memory.find(kCodeAddress, code.size());
    for (int byte : code) *at++ = static_cast<std::byte>(byte);
    REQUIRE(vm->map_memory(memory));
    if (with_irqchip) REQUIRE(vm->create_irqchip());
    vcpu = *Vcpu::create(kvm, *vm, 0);
    kvm_sregs sregs = *vcpu->sregs();
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    REQUIRE(vcpu->set_sregs(sregs));
    kvm_regs regs{};
    regs.rip = kCodeAddress.value;
    regs.rsp = 0x8000;
    regs.rflags = 2;
    REQUIRE(vcpu->set_regs(regs));
    REQUIRE(ports.insert(0x10, 16, device));
    REQUIRE(mmio.insert(0xa0000000, 0x1000, device));
  }

  VcpuEnd run() { return vcpu->run(ports, mmio); }

  Kvm kvm = *Kvm::open();
  std::unique_ptr<Vm> vm = *Vm::create(kvm);
  GuestMemory memory = *GuestMemory::create(ranges());
  std::unique_ptr<Vcpu> vcpu;
  Bus ports{"port"};
  Bus mmio{"MMIO"};
  RecordingDevice device;

 private:
  static std::span<const GuestMemory::Range> ranges() {
    static const GuestMemory::Range kRange{GuestAddress(0), 1 << 20};
    return {&kRange, 1};
  }
};

}  // namespace vmm::kvm::testing
