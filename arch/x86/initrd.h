// SPDX-License-Identifier: Apache-2.0
// Placing the initrd in guest memory.
#pragma once

#include <cstdint>
#include <string>

#include "arch/x86/kernel.h"
#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

struct LoadedInitrd {
  std::uint64_t start = 0;  // guest-physical, page-aligned
  std::uint64_t size = 0;   // bytes; 0: none
};

// As high as the kernel allows below the MMIO hole, and clear of the kernel.
Result<LoadedInitrd> load_initrd(const std::string& path, const LoadedKernel& kernel,
                                 const GuestMemory& memory);

}  // namespace vmm::x86
