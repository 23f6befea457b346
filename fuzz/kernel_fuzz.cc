// SPDX-License-Identifier: Apache-2.0
// Loads a kernel and an initrd that the input chose: a bzImage or an ELF file with a note for PVH,
// with bytes changed where the input says, or the input's own bytes.
#include <elf.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "arch/x86/boot_params.h"
#include "arch/x86/initrd.h"
#include "arch/x86/kernel.h"
#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/unique_fd.h"

namespace vmm::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kLowRam = 8 << 20;  // bytes
constexpr std::uint64_t kHighStart = std::uint64_t{4} << 30;
constexpr std::uint64_t kHighRam = 1 << 20;

template <class T>
void put(Bytes& file, std::size_t at, T value) {
  if (file.size() < at + sizeof value) file.resize(at + sizeof value);
  store_le(&file[at], value);
}

// Documentation/x86/boot.rst, "The Real-Mode Kernel Header".
Bytes bzimage() {
  Bytes file(3 * 512);
  put<std::uint8_t>(file, 0x1f1, 1);            // setup_sects
  put<std::uint32_t>(file, 0x1f4, 512 / 16);    // syssize
  put<std::uint16_t>(file, 0x1fe, 0xaa55);      // boot_flag
  put<std::uint16_t>(file, 0x200, 0x6aeb);      // jump: where the header ends
  put<std::uint32_t>(file, 0x202, 0x53726448);  // "HdrS"
  put<std::uint16_t>(file, 0x206, 0x020f);      // version
  put<std::uint8_t>(file, 0x211, 1);            // loadflags: LOADED_HIGH
  put<std::uint32_t>(file, 0x22c, 0x7fffffff);  // initrd_addr_max
  put<std::uint32_t>(file, 0x230, 0x200000);    // kernel_alignment
  put<std::uint16_t>(file, 0x236, 1);           // xloadflags: XLF_KERNEL_64
  put<std::uint32_t>(file, 0x238, 2047);        // cmdline_size
  put<std::uint64_t>(file, 0x258, 0x200000);    // pref_address
  put<std::uint32_t>(file, 0x260, 0x100000);    // init_size
  return file;
}

Bytes elf() {
  Bytes file(4096);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 2;
  Elf64_Phdr segments[2]{};
  segments[0] = {.p_type = PT_LOAD,
                 .p_flags = 7,
                 .p_offset = 512,
                 .p_vaddr = 0,
                 .p_paddr = 0x100000,
                 .p_filesz = 1024,
                 .p_memsz = 8192,
                 .p_align = 4096};
  segments[1] = {.p_type = PT_NOTE,
                 .p_flags = 4,
                 .p_offset = 256,
                 .p_vaddr = 0,
                 .p_paddr = 0,
                 .p_filesz = 20,
                 .p_memsz = 20,
                 .p_align = 4};
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, segments, sizeof segments);
  put<std::uint32_t>(file, 256, 4);   // name size
  put<std::uint32_t>(file, 260, 4);   // value size
  put<std::uint32_t>(file, 264, 18);  // XEN_ELFNOTE_PHYS32_ENTRY
  std::memcpy(&file[268], "Xen", 4);
  put<std::uint32_t>(file, 272, 0x100000);
  return file;
}

Bytes make_file(FuzzedDataProvider& input) {
  Bytes file;
  switch (input.ConsumeIntegralInRange(0, 4)) {
    case 0:
      return input.ConsumeRandomLengthString(8192).empty() ? Bytes()
                                                           : input.ConsumeBytes<std::uint8_t>(8192);
    case 1:
    case 2:
      file = bzimage();
      break;
    default:
      file = elf();
  }
  for (unsigned patches = input.ConsumeIntegralInRange(0, 12); patches > 0; --patches) {
    // Most of what is decided lies in the first kilobyte.
    std::size_t at =
        input.ConsumeIntegralInRange<std::size_t>(0, input.ConsumeBool() ? 640 : file.size() - 1);
    Bytes change =
        input.ConsumeBytes<std::uint8_t>(input.ConsumeIntegralInRange<std::size_t>(1, 8));
    std::copy_n(change.begin(), std::min(change.size(), file.size() - at),
                file.begin() + static_cast<std::ptrdiff_t>(at));
  }
  if (input.ConsumeProbability<float>() < 0.2f) {
    file.resize(input.ConsumeIntegralInRange<std::size_t>(0, file.size()));
  }
  return file;
}

// A file that has a name to open.
struct NamedFile {
  explicit NamedFile(const Bytes& contents) : fd(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (::write(fd.get(), contents.data(), contents.size()) !=
        static_cast<ssize_t>(contents.size()))
      std::abort();
    path = "/proc/self/fd/" + std::to_string(fd.get());
  }
  UniqueFd fd;
  std::string path;
};

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "kernel_fuzz: %s\n", what);
  std::abort();
}

void load(FuzzedDataProvider& input) {
  const GuestMemory::Range ranges[] = {{GuestAddress(0), kLowRam},
                                       {GuestAddress(kHighStart), kHighRam}};
  GuestMemory memory = *GuestMemory::create(ranges);
  NamedFile kernel_file(make_file(input));
  Result<x86::LoadedKernel> kernel = x86::load_kernel(kernel_file.path, memory);
  // The first megabyte is the boot structures': no kernel file may reach it.
  static const Bytes zeros(x86::layout::kHighMemoryStart);
  std::span<std::byte> low = *memory.slice(GuestAddress(0), zeros.size());
  check(std::memcmp(low.data(), zeros.data(), zeros.size()) == 0,
        "a kernel was loaded over the boot structures");
  if (!kernel) {
    check(!kernel.error().message().empty(), "a refusal without a reason");
    return;
  }
  x86::BootInfo info;
  if (input.ConsumeBool()) {
    NamedFile initrd_file(Bytes(input.ConsumeIntegralInRange<std::size_t>(0, 9 << 20), 0x77));
    Result<x86::LoadedInitrd> initrd = x86::load_initrd(initrd_file.path, *kernel, memory);
    if (!initrd) return;
    check(initrd->start >= kernel->end, "the initrd lies over the kernel");
    check(initrd->start + initrd->size <= kLowRam, "the initrd leaves memory");
    info.initrd = *initrd;
  }
  const x86::MemoryMapEntry map[] = {{.start = 0, .size = kLowRam}};
  info.memory_map = map;
  std::string parameters(input.ConsumeIntegralInRange<std::size_t>(0, 8192), 'p');
  if (!x86::write_command_line(memory, *kernel, parameters)) return;
  if (kernel->protocol == x86::BootProtocol::kLinux64) {
    check(x86::write_boot_params(memory, *kernel, info).has_value(), "boot_params");
  } else {
    check(x86::write_pvh_start_info(memory, info).has_value(), "start_info");
  }
}

}  // namespace
}  // namespace vmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  vmm::fuzz::load(input);
  return 0;
}
