// SPDX-License-Identifier: Apache-2.0
// ELF kernels (vmlinux) with the note that says where to enter them through PVH.
#pragma once

#include "arch/x86/kernel.h"

namespace vmm::x86 {

bool is_elf(std::span<const std::byte> start);

// `start` is the file's beginning: the ELF header must lie in it.
Result<LoadedKernel> load_elf(const ImageFile& file, std::span<const std::byte> start,
                              const GuestMemory& memory);

}  // namespace vmm::x86
