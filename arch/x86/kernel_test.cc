// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/kernel.h"

#include <asm/bootparam.h>
#include <elf.h>

#include <cstring>
#include <vector>

#include "arch/x86/boot_params.h"
#include "arch/x86/initrd.h"
#include "arch/x86/layout.h"
#include "arch/x86/memory_map.h"
#include "arch/x86/testing/temp_file.h"

using namespace vmm;
using namespace vmm::x86;
using vmm::x86::testing::TempFile;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

GuestMemory memory_of(std::uint64_t mib) {
  return *GuestMemory::create(ram_ranges(mib << 20));
}

std::string load_error(std::span<const std::byte> contents, std::uint64_t mib = 64) {
  TempFile file(contents);
  GuestMemory memory = memory_of(mib);
  Result<LoadedKernel> kernel = load_kernel(file.path(), memory);
  return kernel ? "" : kernel.error().message();
}
std::string load_error(std::string_view contents) {
  return load_error(std::as_bytes(std::span(contents)));
}

template <class T>
void put(std::vector<std::byte>& bytes, std::size_t at, const T& object) {
  if (bytes.size() < at + sizeof object) bytes.resize(at + sizeof object);
  std::memcpy(&bytes[at], &object, sizeof object);
}

// The smallest bzImage: one setup sector and a kernel of 0x230 bytes.
std::vector<std::byte> make_bzimage() {
  setup_header header{};
  header.setup_sects = 1;
  header.boot_flag = 0xaa55;
  header.jump = static_cast<std::uint16_t>(0xeb | (sizeof header - 0x11) << 8);
  header.header = 0x53726448;
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.xloadflags = XLF_KERNEL_64;
  header.pref_address = 0x1000000;
  header.init_size = 0x200000;
  header.cmdline_size = 100;
  header.initrd_addr_max = 0x7fffffff;
  header.syssize = 0x23;
  std::vector<std::byte> file(1024 + 0x230, std::byte{0x90});
  put(file, 0x1f1, header);
  return file;
}

// An ELF kernel: a PVH note that says 0x100040, and a segment of 8 bytes (16 in memory) at 1 MiB.
std::vector<std::byte> make_elf() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 2;
  Elf64_Phdr note{};
  note.p_type = PT_NOTE;
  note.p_offset = 0x200;
  note.p_filesz = 20;
  note.p_align = 4;
  Elf64_Phdr load{};
  load.p_type = PT_LOAD;
  load.p_offset = 0x300;
  load.p_filesz = 8;
  load.p_memsz = 16;
  load.p_paddr = 0x100000;
  std::vector<std::byte> file;
  put(file, 0, header);
  put(file, sizeof header, note);
  put(file, sizeof header + sizeof note, load);
  put(file, 0x200, Elf64_Nhdr{4, 4, 18});
  put(file, 0x20c, std::uint32_t{0x006e6558});  // "Xen"
  put(file, 0x210, std::uint32_t{0x100040});
  put(file, 0x300, std::uint64_t{0x1122334455667788});
  return file;
}

}  // namespace

TEST_CASE("load_kernel: a bzImage goes where it prefers, behind its setup code", "[boot]") {
  TempFile file(make_bzimage());
  GuestMemory memory = memory_of(64);
  Result<LoadedKernel> kernel = load_kernel(file.path(), memory);
  REQUIRE(kernel);
  CHECK(kernel->protocol == BootProtocol::kLinux64);
  CHECK(kernel->entry == 0x1000200);
  CHECK(kernel->end == 0x1200000);
  CHECK(*memory.read_object<std::uint8_t>(GuestAddress(0x100022f)) == 0x90);
  CHECK(*memory.read_object<std::uint8_t>(GuestAddress(0x1000230)) == 0);
}

TEST_CASE("load_kernel: a bzImage that cannot work is told why", "[boot]") {
  std::vector<std::byte> file = make_bzimage();
  CHECK(contains(load_error(file, 17), "give it more than 17 MiB with --mem"));

  std::vector<std::byte> truncated(file.begin(), file.end() - 0x100);
  CHECK(contains(load_error(truncated), "truncated"));

  std::vector<std::byte> old = file;
  put(old, 0x206, std::uint16_t{0x0205});
  CHECK(contains(load_error(old), "boot protocol 2.05, need 2.12"));

  std::vector<std::byte> narrow = file;
  put(narrow, 0x236, std::uint16_t{0});
  CHECK(contains(load_error(narrow), "32-bit Linux kernel"));

  std::vector<std::byte> low = file;
  put(low, 0x258, std::uint64_t{0x8000});
  CHECK(contains(load_error(low), "guest memory from 0x8000"));
  put(low, 0x258, ~std::uint64_t{0});
  CHECK(contains(load_error(low), "--mem"));
}

TEST_CASE("load_kernel: an ELF kernel is loaded by its segments and entered by its note",
          "[boot]") {
  TempFile file(make_elf());
  GuestMemory memory = memory_of(4);
  Result<LoadedKernel> kernel = load_kernel(file.path(), memory);
  REQUIRE(kernel);
  CHECK(kernel->protocol == BootProtocol::kPvh);
  CHECK(kernel->entry == 0x100040);
  CHECK(kernel->end == 0x100010);
  CHECK(*memory.read_object<std::uint64_t>(GuestAddress(0x100000)) == 0x1122334455667788);
}

TEST_CASE("load_kernel: an ELF file that cannot work is told why", "[boot]") {
  const std::vector<std::byte> good = make_elf();
  std::vector<std::byte> file = good;
  put(file, offsetof(Elf64_Ehdr, e_machine), std::uint16_t{EM_AARCH64});
  CHECK(contains(load_error(file), "ELF file for arm64; expected"));

  file = good;
  put(file, offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{0xffff});
  CHECK(contains(load_error(file), "program headers"));

  file = good;
  put(file, 0x208, std::uint32_t{17});  // another note
  CHECK(contains(load_error(file), "without a PVH entry point"));

  file = good;
  put(file, 0x200, std::uint32_t{0xfffffff0});  // the note's name is longer than its segment
  CHECK(contains(load_error(file), "without a PVH entry point"));

  std::size_t load = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
  file = good;
  put(file, load + offsetof(Elf64_Phdr, p_paddr), std::uint64_t{0x7000});
  CHECK(contains(load_error(file), "guest memory at 0x7000+0x10"));

  file = good;
  put(file, load + offsetof(Elf64_Phdr, p_memsz), ~std::uint64_t{0});
  CHECK(contains(load_error(file), "guest memory at 0x100000+0xffffffffffffffff"));

  file = good;
  put(file, load + offsetof(Elf64_Phdr, p_offset), std::uint64_t{1} << 62);
  CHECK(contains(load_error(file), "truncated"));

  file.assign(good.begin(), good.begin() + 20);
  CHECK(contains(load_error(file), "ends within its header"));
}

TEST_CASE("load_kernel: other files are called by their names", "[boot]") {
  CHECK(contains(load_error(""), "is empty; expected a Linux bzImage"));
  CHECK(contains(load_error("\x1f\x8b\x08"), "gzip"));
  CHECK(contains(load_error("QFI\xfb\x00\x00\x00\x03"), "qcow2 disk image"));
  CHECK(contains(load_error("hello"), "nothing that looks like a kernel"));
  std::string arm64(0x40, '\0');
  arm64.replace(0, 2, "MZ").replace(0x38, 4, "ARM\x64");
  CHECK(contains(load_error(arm64), "arm64"));

  GuestMemory memory = memory_of(4);
  CHECK(contains(load_kernel("/tmp", memory).error().message(), "--kernel /tmp: is a directory"));
  CHECK(contains(load_kernel("/nonexistent", memory).error().message(),
                 "--kernel /nonexistent: No such file"));
  CHECK(contains(load_kernel("/dev/null", memory).error().message(), "not a regular file"));
}

TEST_CASE("load_initrd: high, page-aligned, and clear of the kernel", "[boot]") {
  GuestMemory memory = memory_of(64);
  LoadedKernel kernel{};
  kernel.end = 0x1200000;
  kernel.initrd_limit = 0x2000000;
  TempFile file(std::string_view("initrd"));
  Result<LoadedInitrd> initrd = load_initrd(file.path(), kernel, memory);
  REQUIRE(initrd);
  CHECK(initrd->start == 0x1fff000);
  CHECK(initrd->size == 6);
  CHECK(*memory.read_object<char>(GuestAddress(0x1fff000)) == 'i');

  kernel.initrd_limit = kernel.end + 4;
  CHECK(contains(load_initrd(file.path(), kernel, memory).error().message(), "--mem"));
  TempFile empty(std::string_view(""));
  CHECK(contains(load_initrd(empty.path(), kernel, memory).error().message(), "is empty"));
}

TEST_CASE("boot_params: carries the setup header, memory map, initrd and RSDP", "[boot]") {
  TempFile file(make_bzimage());
  GuestMemory memory = memory_of(64);
  LoadedKernel kernel = *load_kernel(file.path(), memory);
  std::vector<MemoryMapEntry> map = memory_map(memory);
  BootInfo info;
  info.initrd = {0x3000000, 0x123};
  info.rsdp = 0xe0000;
  info.memory_map = map;
  REQUIRE(write_boot_params(memory, kernel, info));
  auto params = *memory.read_object<boot_params>(GuestAddress(layout::kZeroPage));
  CHECK(params.hdr.header == 0x53726448);
  CHECK(params.hdr.type_of_loader == 0xff);
  CHECK(params.hdr.cmd_line_ptr == layout::kCommandLine);
  CHECK(params.hdr.ramdisk_image == 0x3000000);
  CHECK(params.hdr.ramdisk_size == 0x123);
  CHECK(params.acpi_rsdp_addr == 0xe0000);
  REQUIRE(params.e820_entries == map.size());
  CHECK(params.e820_table[0].size == layout::kLowMemoryEnd);
}

TEST_CASE("write_command_line: a line that the kernel would cut off is refused", "[boot]") {
  GuestMemory memory = memory_of(4);
  LoadedKernel kernel{};
  kernel.max_cmdline = 10;
  CHECK(write_command_line(memory, kernel, "0123456789"));
  CHECK(*memory.read_object<char>(GuestAddress(layout::kCommandLine + 9)) == '9');
  CHECK(*memory.read_object<char>(GuestAddress(layout::kCommandLine + 10)) == '\0');
  CHECK(contains(write_command_line(memory, kernel, "0123456789a").error().message(), "--params"));
}
