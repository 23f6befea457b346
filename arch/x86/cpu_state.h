// SPDX-License-Identifier: Apache-2.0
// The state in which the boot processor enters a kernel. The others wait for their start-up IPI in
// the state that KVM gives them.
#pragma once

#include <cstdint>

#include "arch/x86/kernel.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/vcpu.h"

namespace vmm::x86 {

// Writes the GDT (and for kLinux64 the page tables) that the state refers to.
Result<void> write_boot_tables(const GuestMemory& memory, BootProtocol protocol);

// General and special registers of the boot processor at `entry`.
Result<void> set_boot_registers(kvm::Vcpu& vcpu, BootProtocol protocol, std::uint64_t entry);

// What firmware would have set up on every processor.
Result<void> set_msrs(kvm::Vcpu& vcpu);

}  // namespace vmm::x86
