// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/bzimage.h"

#include <asm/bootparam.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"

namespace vmm::x86 {
namespace {

constexpr std::size_t kBootFlagOffset = 0x1fe;  // 0xaa55
constexpr std::size_t kMagicOffset = 0x202;     // "HdrS"
constexpr std::uint16_t kBootFlag = 0xaa55;
constexpr std::uint32_t kMagic = 0x53726448;

// 2.12 (Linux 3.8) brought xloadflags, which tells whether there is a 64-bit entry.
constexpr std::uint16_t kMinVersion = 0x020c;
constexpr std::uint64_t kEntry64Offset = 0x200;
constexpr std::uint64_t kSectorSize = 512;

// Where the protected-mode kernel is in the file, and where it goes.
struct Placement {
  std::uint64_t file_offset;
  std::uint64_t file_size;
  std::uint64_t address;
};

Result<Placement> place(const ImageFile& file, const setup_header& header) {
  // "If the field is 0, the real value is 4": from before there were sizes.
  std::uint64_t setup_sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  Placement placement{};
  placement.file_offset = (setup_sectors + 1) * kSectorSize;
  placement.file_size = std::uint64_t{header.syssize} * 16;
  // The build rounds syssize up to 16 bytes and may append a signature.
  std::uint64_t left = file.size() - std::min(file.size(), placement.file_offset);
  if (placement.file_size == 0 || left + 16 < placement.file_size) {
    return file.fail(ErrorKind::kInvalid,
                     fmt::format("the kernel in it should have {} bytes, but {} are there: is the "
                                 "file truncated?",
                                 placement.file_size, left));
  }
  placement.file_size = std::min(placement.file_size, left);
  placement.address = header.pref_address;
  return placement;
}

Result<void> check_header(const ImageFile& file, const setup_header& header) {
  if (header.version < kMinVersion) {
    return file.fail(ErrorKind::kUnsupported,
                     fmt::format("is a Linux kernel with boot protocol {}.{:02}, need 2.12 (Linux "
                                 "3.8) or newer",
                                 header.version >> 8, header.version & 0xff));
  }
  if ((header.loadflags & LOADED_HIGH) == 0) {
    return file.fail(ErrorKind::kUnsupported,
                     "is a zImage (a kernel for low memory), need bzImage");
  }
  if ((header.xloadflags & XLF_KERNEL_64) == 0) {
    return file.fail(ErrorKind::kUnsupported, "is a 32-bit Linux kernel, need a 64-bit one");
  }
  return {};
}

}  // namespace

bool is_bzimage(std::span<const std::byte> start) {
  return start.size() >= kMagicOffset + sizeof kMagic &&
         load_le<std::uint16_t>(&start[kBootFlagOffset]) == kBootFlag &&
         load_le<std::uint32_t>(&start[kMagicOffset]) == kMagic;
}

Result<LoadedKernel> load_bzimage(const ImageFile& file, std::span<const std::byte> start,
                                  const GuestMemory& memory) {
  // The header ends where the jump instruction at 0x200 goes: later protocols made it longer.
  std::size_t header_end = kMagicOffset + std::to_integer<std::uint8_t>(start[0x201]);
  setup_header header{};
  header_end = std::min({header_end, kSetupHeaderOffset + sizeof header, start.size()});
  std::span<const std::byte> raw =
      start.subspan(kSetupHeaderOffset, header_end - kSetupHeaderOffset);
  std::memcpy(&header, raw.data(), raw.size());

  VMM_CHECK(check_header(file, header));
  VMM_TRY(Placement placement, place(file, header));

  // init_size: what the kernel needs from its start on until it can look at the memory map.
  std::uint64_t size = std::max<std::uint64_t>(header.init_size, placement.file_size);
  std::byte* target = memory.find(GuestAddress(placement.address), size);
  if (target == nullptr || placement.address < layout::kHighMemoryStart) {
    return file.fail(
        ErrorKind::kInvalid,
        fmt::format("the kernel needs guest memory from {:#x} to {:#x}: give it more "
                    "than {} MiB with --mem",
                    placement.address, placement.address + size, memory.total_size() >> 20));
  }
  VMM_CHECK(file.read(placement.file_offset,
                      std::span(target, static_cast<std::size_t>(placement.file_size))));

  LoadedKernel kernel{};
  kernel.protocol = BootProtocol::kLinux64;
  kernel.entry = placement.address + kEntry64Offset;
  kernel.end = placement.address + size;
  kernel.initrd_limit = std::uint64_t{header.initrd_addr_max} + 1;
  kernel.max_cmdline = header.cmdline_size;
  kernel.setup.assign(raw.begin(), raw.end());
  return kernel;
}

}  // namespace vmm::x86
