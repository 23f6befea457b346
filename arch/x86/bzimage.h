// SPDX-License-Identifier: Apache-2.0
// The Linux/x86 boot protocol's kernel file, bzImage (Documentation/x86/boot.rst).
#pragma once

#include "arch/x86/kernel.h"

namespace vmm::x86 {

// Offset of the setup header in the file and in boot_params.
inline constexpr std::size_t kSetupHeaderOffset = 0x1f1;

// Whether `start`, the file's first bytes, has the magics of a Linux kernel's setup code.
bool is_bzimage(std::span<const std::byte> start);

// `start` must be at least 0x1000 bytes where the file is that long.
Result<LoadedKernel> load_bzimage(const ImageFile& file, std::span<const std::byte> start,
                                  const GuestMemory& memory);

}  // namespace vmm::x86
