// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/kernel.h"

#include <array>
#include <cstring>
#include <string_view>

#include "arch/x86/bzimage.h"
#include "arch/x86/elf_kernel.h"

namespace vmm::x86 {
namespace {

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  const char* meaning;
};

using namespace std::string_view_literals;

constexpr Magic kMagics[] = {
    {0, "\x1f\x8b"sv, "is a gzip file: unpack it first"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "is an xz file: unpack it first"},
    {0, "\x28\xb5\x2f\xfd"sv, "is a zstd file: unpack it first"},
    {0, "\x04\x22\x4d\x18"sv, "is an lz4 file: unpack it first"},
    {0, "BZh"sv, "is a bzip2 file: unpack it first"},
    {0, "QFI\xfb"sv, "is a qcow2 disk image: disks are given with --disk"},
    {0, "070701"sv, "is a cpio archive, perhaps an initrd: those are given with --initrd"},
    {0, "!<arch>"sv, "is an ar archive, perhaps a Debian package"},
    {0, "#!"sv, "is a script"},
    {0x38, "ARM\x64"sv, "is a Linux kernel for arm64"},
    {0x30, "RISCV"sv, "is a Linux kernel for RISC-V"},
    {0x8001, "CD001"sv, "is a CD image"},
    {0, "MZ"sv, "is a program for UEFI or DOS"},
    // Last, as boot loaders may carry one of the others too.
    {510, "\x55\xaa"sv, "is a boot sector or a disk image: disks are given with --disk"},
};

}  // namespace

std::string describe_non_kernel(std::span<const std::byte> start) {
  if (start.empty()) return "is empty";
  std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  for (const Magic& magic : kMagics) {
    if (text.size() >= magic.offset && text.substr(magic.offset).starts_with(magic.bytes)) {
      return magic.meaning;
    }
  }
  return "is nothing that looks like a kernel";
}

Result<LoadedKernel> load_kernel(const std::string& path, const GuestMemory& memory) {
  VMM_TRY(ImageFile file, ImageFile::open(path, "--kernel"));
  std::array<std::byte, 0x8100> buffer;
  VMM_TRY(std::size_t size, file.read_start(buffer));
  std::span<const std::byte> start(buffer.data(), size);
  if (is_elf(start)) return load_elf(file, start, memory);
  if (is_bzimage(start)) return load_bzimage(file, start, memory);
  return file.fail(
      ErrorKind::kInvalid,
      describe_non_kernel(start) +
          "; expected a Linux bzImage (vmlinuz) or an ELF kernel (vmlinux) for x86-64");
}

}  // namespace vmm::x86
