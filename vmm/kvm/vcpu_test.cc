// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/vcpu.h"

#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "vmm/core/testing/patience.h"
#include "vmm/kvm/testing/tiny_guest.h"

using namespace vmm;
using namespace vmm::kvm;
using vmm::kvm::testing::TinyGuest;
using vmm::testing::comes_true;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("Vcpu: port writes and reads reach the port bus", "[kvm]") {
  TinyGuest guest({
      0xb0, 0x2a,  // mov al, 0x2a
      0xe6, 0x12,  // out 0x12, al
      0xe4, 0x13,  // in al, 0x13
      0xe6, 0x12,  // out 0x12, al
      0xf4,        // hlt
  });
  VcpuEnd end = guest.run();
  CHECK(end.kind == VcpuEnd::Kind::kFailure);
  CHECK(contains(end.message, "vCPU 0: KVM_EXIT_HLT"));
  CHECK(contains(end.message, "RIP 0x1009"));
  CHECK(guest.device.written == std::vector{std::byte{0x2a}, std::byte{0x41}});
  CHECK(guest.device.last_offset == 2);
}

TEST_CASE("Vcpu: a string of port writes arrives item by item", "[kvm]") {
  TinyGuest guest({
      0xbe, 0x00, 0x10,  // mov si, 0x1000
      0xba, 0x10, 0x00,  // mov dx, 0x10
      0xb9, 0x03, 0x00,  // mov cx, 3
      0xf3, 0x6e,        // rep outsb
      0xf4,              // hlt
  });
  guest.run();
  CHECK(guest.device.written == std::vector{std::byte{0xbe}, std::byte{0x00}, std::byte{0x10}});
}

TEST_CASE("Vcpu: MMIO outside memory reaches the MMIO bus", "[kvm]") {
  TinyGuest guest({
      0x66, 0xbb, 0x08, 0x00, 0x00, 0x00,  // mov ebx, 8
      0x67, 0x66, 0x89, 0x1b,              // mov [ebx], ebx
      0xf4,                                // hlt
  });
  kvm_sregs sregs = *guest.vcpu->sregs();
  sregs.ds.base = 0xa0000000;
  REQUIRE(guest.vcpu->set_sregs(sregs));
  guest.run();
  CHECK(guest.device.last_offset == 8);
  CHECK(guest.device.written ==
        std::vector{std::byte{8}, std::byte{0}, std::byte{0}, std::byte{0}});
}

TEST_CASE("Vcpu: a triple fault is told apart as the guest's crash", "[kvm]") {
  TinyGuest guest({0x0f, 0x0b});  // ud2
  kvm_sregs sregs = *guest.vcpu->sregs();
  sregs.cr0 |= 1;       // protected mode,
  sregs.cs.type = 0xb;  // flat 32-bit code,
  sregs.cs.limit = 0xffffffff;
  sregs.cs.g = sregs.cs.db = 1;
  sregs.idt.limit = 0;  // and no IDT: neither #UD nor the double fault can be delivered
  REQUIRE(guest.vcpu->set_sregs(sregs));
  VcpuEnd end = guest.run();
  CHECK(end.kind == VcpuEnd::Kind::kGuestCrash);
  CHECK(contains(end.message, "vCPU 0: the guest crashed: triple fault (KVM_EXIT_SHUTDOWN), RIP"));
}

TEST_CASE("Vcpu: request_stop takes a looping guest off its thread", "[kvm]") {
  TinyGuest guest({0xeb, 0xfe});  // jmp self
  std::promise<VcpuEnd> ended;
  guest.vcpu->start(guest.ports, guest.mmio, [&](const VcpuEnd& end) { ended.set_value(end); });
  guest.vcpu->request_stop();
  VcpuEnd end = ended.get_future().get();
  CHECK(end.kind == VcpuEnd::Kind::kStopped);
  CHECK(end.message.empty());
  guest.vcpu->join();
}

TEST_CASE("Vcpu: a paused guest stands still, and goes on where it was", "[kvm]") {
  TinyGuest guest({0xe4, 0x13, 0xeb, 0xfc});  // in al, 0x13; jmp to it
  std::promise<VcpuEnd> ended;
  kvm::Vcpu& vcpu = *guest.vcpu;
  vcpu.start(guest.ports, guest.mmio, [&](const VcpuEnd& end) { ended.set_value(end); });
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t before = vcpu.stats().port_exits;
    CHECK(comes_true([&] { return vcpu.stats().port_exits > before + 10; }));
    CHECK_FALSE(vcpu.held());
    vcpu.request_pause();
    REQUIRE(comes_true([&] { return vcpu.held(); }));
    const std::uint64_t paused_at = vcpu.stats().port_exits;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(vcpu.stats().port_exits == paused_at);
    vcpu.resume();
  }
  CHECK(vcpu.stats().cpu_time_ns > 0);
  vcpu.request_pause();
  vcpu.resume();
  vcpu.request_pause();
  REQUIRE(comes_true([&] { return vcpu.held(); }));
  vcpu.request_stop();
  vcpu.resume();  // too late
  CHECK(ended.get_future().get().kind == VcpuEnd::Kind::kStopped);
  vcpu.join();
}

TEST_CASE("Vcpu: a pause before the start holds the guest at its first instruction", "[kvm]") {
  TinyGuest guest({0xe4, 0x13, 0xeb, 0xfc});
  guest.vcpu->request_pause();
  guest.vcpu->start(guest.ports, guest.mmio, [](const VcpuEnd&) {});
  REQUIRE(comes_true([&] { return guest.vcpu->held(); }));
  CHECK(guest.vcpu->stats().port_exits == 0);
  guest.vcpu->resume();
  CHECK(comes_true([&] { return guest.vcpu->stats().port_exits > 0; }));
  guest.vcpu->request_stop();
  guest.vcpu->join();
}

TEST_CASE("Vcpu: an MSR that KVM does not know is named", "[kvm]") {
  TinyGuest guest({0xf4});
  kvm_msr_entry unknown{};
  unknown.index = 0xdeadbeef;
  Result<void> set = guest.vcpu->set_msrs({&unknown, 1});
  REQUIRE_FALSE(set);
  CHECK(contains(set.error().message(), "0xdeadbeef"));
}
