// SPDX-License-Identifier: Apache-2.0
// What a kernel is handed at its entry: Linux's boot_params, or PVH's hvm_start_info.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "arch/x86/initrd.h"
#include "arch/x86/kernel.h"
#include "arch/x86/memory_map.h"

namespace vmm::x86 {

struct BootInfo {
  LoadedInitrd initrd;
  std::uint64_t rsdp = 0;        // guest-physical; 0: no ACPI
  std::uint64_t setup_data = 0;  // guest-physical; 0: none. boot_params alone has it
  std::span<const MemoryMapEntry> memory_map;
};

// The command line at layout::kCommandLine. Fails where the kernel takes none that long.
Result<void> write_command_line(const GuestMemory& memory, const LoadedKernel& kernel,
                                const std::string& text);

// The structure the kernel's protocol asks for, at layout::kZeroPage or layout::kPvhStartInfo.
Result<void> write_boot_params(const GuestMemory& memory, const LoadedKernel& kernel,
                               const BootInfo& info);
Result<void> write_pvh_start_info(const GuestMemory& memory, const BootInfo& info);

}  // namespace vmm::x86
