// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/cpu_state.h"

#include <array>

#include "arch/x86/layout.h"
#include "arch/x86/page_tables.h"

namespace vmm::x86 {
namespace {

// Intel SDM volume 3: 2.5 control registers, 2.2.1 EFER.
constexpr std::uint64_t kCr0ProtectedMode = 1 << 0;
constexpr std::uint64_t kCr0ExtensionType = 1 << 4;
constexpr std::uint64_t kCr0Paging = std::uint64_t{1} << 31;
constexpr std::uint64_t kCr4PhysicalAddressExtension = 1 << 5;
constexpr std::uint64_t kEferLongModeEnable = 1 << 8;
constexpr std::uint64_t kEferLongModeActive = 1 << 10;
constexpr std::uint64_t kRflagsReserved = 1 << 1;  // always set

// Segment types (3.4.5.1) and the selectors that the Linux boot protocol prescribes.
constexpr std::uint8_t kTypeCode = 0xb;  // execute, read, accessed
constexpr std::uint8_t kTypeData = 0x3;  // read, write, accessed
constexpr std::uint8_t kTypeTask = 0xb;  // busy TSS, 32 or 64 bit
constexpr std::uint16_t kCodeSelector = 0x10;
constexpr std::uint16_t kDataSelector = 0x18;
constexpr std::uint16_t kTaskSelector = 0x20;

// MSRs (Intel SDM volume 4).
constexpr std::uint32_t kMsrMiscEnable = 0x1a0;
constexpr std::uint64_t kMiscEnableFastStrings = 1 << 0;
constexpr std::uint32_t kMsrMtrrDefaultType = 0x2ff;
constexpr std::uint64_t kMtrrEnable = 1 << 11;
constexpr std::uint64_t kMtrrWriteBack = 6;

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type, bool is_64bit_code) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  segment.l = is_64bit_code;
  segment.db = !is_64bit_code;
  return segment;
}

kvm_segment task_segment() {
  kvm_segment segment{};
  segment.limit = 0x67;
  segment.selector = kTaskSelector;
  segment.type = kTypeTask;
  segment.present = 1;
  return segment;
}

// The same as a descriptor in memory (Intel SDM volume 3, 3.4.5).
std::uint64_t descriptor(const kvm_segment& segment) {
  std::uint64_t limit = segment.g ? segment.limit >> 12 : segment.limit;
  return (limit & 0xffff) | (segment.base & 0xffffff) << 16 | std::uint64_t{segment.type} << 40 |
         std::uint64_t{segment.s} << 44 | std::uint64_t{segment.dpl} << 45 |
         std::uint64_t{segment.present} << 47 | (limit >> 16 & 0xf) << 48 |
         std::uint64_t{segment.avl} << 52 | std::uint64_t{segment.l} << 53 |
         std::uint64_t{segment.db} << 54 | std::uint64_t{segment.g} << 55 |
         (segment.base >> 24 & 0xff) << 56;
}

using Gdt = std::array<std::uint64_t, 5>;

}  // namespace

Result<void> write_boot_tables(const GuestMemory& memory, BootProtocol protocol) {
  bool long_mode = protocol == BootProtocol::kLinux64;
  Gdt gdt{};
  gdt[kCodeSelector / 8] = descriptor(flat_segment(kCodeSelector, kTypeCode, long_mode));
  gdt[kDataSelector / 8] = descriptor(flat_segment(kDataSelector, kTypeData, false));
  gdt[kTaskSelector / 8] = descriptor(task_segment());
  VMM_CHECK(memory.write_object(GuestAddress(layout::kGdt), gdt));
  if (!long_mode) return {};
  return write_identity_page_tables(memory);
}

Result<void> set_boot_registers(kvm::Vcpu& vcpu, BootProtocol protocol, std::uint64_t entry) {
  bool long_mode = protocol == BootProtocol::kLinux64;
  VMM_TRY(kvm_sregs sregs, vcpu.sregs());
  sregs.cs = flat_segment(kCodeSelector, kTypeCode, long_mode);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss =
      flat_segment(kDataSelector, kTypeData, false);
  sregs.tr = task_segment();
  sregs.gdt.base = layout::kGdt;
  sregs.gdt.limit = sizeof(Gdt) - 1;
  sregs.idt.base = 0;
  sregs.idt.limit = 0;  // an early exception is a triple fault, and told as one
  sregs.cr0 = kCr0ProtectedMode | kCr0ExtensionType;
  sregs.cr4 = 0;
  if (long_mode) {
    sregs.cr0 |= kCr0Paging;
    sregs.cr3 = layout::kPageTables;
    sregs.cr4 = kCr4PhysicalAddressExtension;
    sregs.efer = kEferLongModeEnable | kEferLongModeActive;
  }
  VMM_CHECK(vcpu.set_sregs(sregs));

  kvm_regs regs{};
  regs.rflags = kRflagsReserved;
  regs.rip = entry;
  regs.rsp = layout::kBootStack;
  if (long_mode) {
    regs.rsi = layout::kZeroPage;
  } else {
    regs.rbx = layout::kPvhStartInfo;
  }
  return vcpu.set_regs(regs);
}

Result<void> set_msrs(kvm::Vcpu& vcpu) {
  // Memory is write-back by default: with MTRRs off Linux would not use the PAT either.
  std::array<kvm_msr_entry, 2> msrs{};
  msrs[0].index = kMsrMiscEnable;
  msrs[0].data = kMiscEnableFastStrings;
  msrs[1].index = kMsrMtrrDefaultType;
  msrs[1].data = kMtrrEnable | kMtrrWriteBack;
  return vcpu.set_msrs(msrs);
}

}  // namespace vmm::x86
