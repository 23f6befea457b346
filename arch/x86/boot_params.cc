// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/boot_params.h"

#include <asm/bootparam.h>
#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "arch/x86/bzimage.h"
#include "arch/x86/layout.h"

namespace vmm::x86 {
namespace {

// "undefined": a boot loader without a registered number.
constexpr std::uint8_t kLoaderUndefined = 0xff;

}  // namespace

Result<void> write_command_line(const GuestMemory& memory, const LoadedKernel& kernel,
                                const std::string& text) {
  std::uint64_t limit = std::min(kernel.max_cmdline, layout::kCommandLineSize - 1);
  if (text.size() > limit) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--params: the command line has {} bytes, this kernel takes {}",
                            text.size(), limit));
  }
  return memory.write(GuestAddress(layout::kCommandLine),
                      std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

Result<void> write_boot_params(const GuestMemory& memory, const LoadedKernel& kernel,
                               const BootInfo& info) {
  boot_params params{};
  assert(kernel.setup.size() <= sizeof params.hdr);
  static_assert(offsetof(boot_params, hdr) == kSetupHeaderOffset);
  std::memcpy(&params.hdr, kernel.setup.data(), kernel.setup.size());

  params.hdr.type_of_loader = kLoaderUndefined;
  params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(layout::kCommandLine);
  params.hdr.ramdisk_image = static_cast<std::uint32_t>(info.initrd.start);
  params.hdr.ramdisk_size = static_cast<std::uint32_t>(info.initrd.size);
  params.ext_ramdisk_image = static_cast<std::uint32_t>(info.initrd.start >> 32);
  params.ext_ramdisk_size = static_cast<std::uint32_t>(info.initrd.size >> 32);
  params.acpi_rsdp_addr = info.rsdp;
  params.hdr.setup_data = info.setup_data;

  assert(info.memory_map.size() <= E820_MAX_ENTRIES_ZEROPAGE);
  for (const MemoryMapEntry& entry : info.memory_map) {
    boot_e820_entry& e820 = params.e820_table[params.e820_entries++];
    e820.addr = entry.start;
    e820.size = entry.size;
    e820.type = static_cast<std::uint32_t>(entry.type);
  }
  return memory.write_object(GuestAddress(layout::kZeroPage), params);
}

}  // namespace vmm::x86
