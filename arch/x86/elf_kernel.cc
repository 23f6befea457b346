// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/elf_kernel.h"

#include <elf.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"

namespace vmm::x86 {
namespace {

// XEN_ELFNOTE_PHYS32_ENTRY of Xen's public headers: the 32-bit physical entry point.
constexpr std::uint32_t kNotePhys32Entry = 18;
constexpr std::size_t kMaxProgramHeaders = 128;
constexpr std::uint64_t kMaxNoteSegment = 64 * layout::kKiB;
// Above the boot structures, and below 4 GiB where 32-bit code runs.
constexpr std::uint64_t kLowestLoad = layout::kHighMemoryStart;

std::string machine_name(std::uint16_t machine) {
  switch (machine) {
    case EM_386:
      return "32-bit x86";
    case EM_AARCH64:
      return "arm64";
    case EM_ARM:
      return "32-bit ARM";
    case EM_PPC64:
      return "POWER";
    case EM_S390:
      return "s390";
    case EM_RISCV:
      return "RISC-V";
    default:
      return fmt::format("machine {}", machine);
  }
}

Result<Elf64_Ehdr> check_header(const ImageFile& file, std::span<const std::byte> start) {
  constexpr const char* kExpected = "; expected an ELF kernel (vmlinux) for x86-64";
  Elf64_Ehdr header;
  if (start.size() < sizeof header) {
    return file.fail(ErrorKind::kInvalid, "is an ELF file that ends within its header");
  }
  std::memcpy(&header, start.data(), sizeof header);
  if (header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return file.fail(ErrorKind::kInvalid,
                     std::string("is an ELF file for a big-endian machine") + kExpected);
  }
  // e_machine is at the same place in 32-bit files.
  if (header.e_machine != EM_X86_64 || header.e_ident[EI_CLASS] != ELFCLASS64) {
    return file.fail(ErrorKind::kInvalid,
                     "is an ELF file for " + machine_name(header.e_machine) + kExpected);
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
      header.e_phnum > kMaxProgramHeaders) {
    return file.fail(ErrorKind::kInvalid,
                     std::string("is an ELF file without usable program headers") + kExpected);
  }
  return header;
}

// The entry point that a note segment names. image-controlled: sizes are checked one by one.
std::optional<std::uint32_t> find_pvh_entry(std::span<const std::byte> notes, std::size_t align) {
  auto round_up = [&](std::size_t size) { return (size + align - 1) / align * align; };
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data(), sizeof note);
    notes = notes.subspan(sizeof note);
    std::size_t name_size = round_up(note.n_namesz);
    std::size_t value_size = round_up(note.n_descsz);
    if (name_size > notes.size()) return std::nullopt;
    bool xen = note.n_namesz == 4 && std::memcmp(notes.data(), "Xen", 4) == 0;
    notes = notes.subspan(name_size);
    if (note.n_descsz > notes.size()) return std::nullopt;
    if (xen && note.n_type == kNotePhys32Entry && note.n_descsz >= 4) {
      return load_le<std::uint32_t>(notes.data());
    }
    notes = notes.subspan(std::min(value_size, notes.size()));
  }
  return std::nullopt;
}

Result<std::optional<std::uint32_t>> read_notes(const ImageFile& file, const Elf64_Phdr& segment) {
  if (segment.p_filesz > kMaxNoteSegment) return std::optional<std::uint32_t>();
  std::vector<std::byte> notes(segment.p_filesz);
  VMM_CHECK(file.read(segment.p_offset, notes));
  return find_pvh_entry(notes, segment.p_align == 8 ? 8 : 4);
}

// Returns where the segment ends in guest memory.
Result<std::uint64_t> load_segment(const ImageFile& file, const Elf64_Phdr& segment,
                                   const GuestMemory& memory) {
  if (segment.p_filesz > segment.p_memsz) {
    return file.fail(ErrorKind::kInvalid, "is an ELF file with a segment larger than its memory");
  }
  std::byte* target = memory.find(GuestAddress(segment.p_paddr), segment.p_memsz);
  if (target == nullptr || segment.p_paddr < kLowestLoad) {
    return file.fail(ErrorKind::kInvalid,
                     fmt::format("a segment wants guest memory at {:#x}+{:#x}; there are {} MiB "
                                 "(--mem), of which the first is taken",
                                 std::uint64_t{segment.p_paddr}, std::uint64_t{segment.p_memsz},
                                 memory.total_size() >> 20));
  }
  // What the file does not fill is zero already: guest memory is fresh.
  VMM_CHECK(file.read(segment.p_offset, std::span(target, segment.p_filesz)));
  return segment.p_paddr + segment.p_memsz;
}

}  // namespace

bool is_elf(std::span<const std::byte> start) {
  return start.size() >= SELFMAG && std::memcmp(start.data(), ELFMAG, SELFMAG) == 0;
}

Result<LoadedKernel> load_elf(const ImageFile& file, std::span<const std::byte> start,
                              const GuestMemory& memory) {
  VMM_TRY(Elf64_Ehdr header, check_header(file, start));
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  VMM_CHECK(file.read(header.e_phoff, std::as_writable_bytes(std::span(segments))));

  std::optional<std::uint32_t> entry;
  std::uint64_t end = 0;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_NOTE && !entry) {
      VMM_TRY(entry, read_notes(file, segment));
    }
    if (segment.p_type == PT_LOAD && segment.p_memsz > 0) {
      VMM_TRY(std::uint64_t segment_end, load_segment(file, segment, memory));
      end = std::max(end, segment_end);
    }
  }
  if (!entry) {
    return file.fail(ErrorKind::kUnsupported,
                     "is an ELF file for x86-64 without a PVH entry point: build the kernel with "
                     "CONFIG_PVH, or give its bzImage");
  }

  LoadedKernel kernel{};
  kernel.protocol = BootProtocol::kPvh;
  kernel.entry = *entry;
  kernel.end = end;
  kernel.initrd_limit = layout::kMmioHole;
  kernel.max_cmdline = layout::kCommandLineSize - 1;
  return kernel;
}

}  // namespace vmm::x86
