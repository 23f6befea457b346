// SPDX-License-Identifier: Apache-2.0
// Loading a kernel: what kind of file it is, and where it went in guest memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/x86/image_file.h"
#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

enum class BootProtocol {
  kLinux64,  // bzImage, entered in 64-bit mode with boot_params (Documentation/x86/boot.rst)
  kPvh,      // ELF with a PVH note, entered in 32-bit mode with hvm_start_info (xen: pvh.txt)
};

struct LoadedKernel {
  BootProtocol protocol;
  std::uint64_t entry;           // guest-physical
  std::uint64_t end;             // first guest-physical byte that the kernel leaves alone at start
  std::uint64_t initrd_limit;    // an initrd must end at or below this
  std::uint64_t max_cmdline;     // bytes, without the final zero
  std::vector<std::byte> setup;  // kLinux64: the setup header, from offset 0x1f1 of the file
};

// Fails with a line that says what the file is and what is expected, where it is no kernel that can
// be booted here.
Result<LoadedKernel> load_kernel(const std::string& path, const GuestMemory& memory);

// One sentence on a file that is no bootable kernel, from its first bytes.
std::string describe_non_kernel(std::span<const std::byte> start);

}  // namespace vmm::x86
