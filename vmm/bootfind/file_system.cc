// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/file_system.h"

#include <fmt/core.h>

#include <cstring>
#include <string_view>

#include "vmm/bootfind/ext_file_system.h"
#include "vmm/bootfind/fat_file_system.h"
#include "vmm/bootfind/source.h"

namespace vmm::bootfind {
namespace {

struct Magic {
  std::uint64_t offset;
  std::string_view bytes;
  const char* name;
};

using namespace std::string_view_literals;

// Those that people put on boot and root partitions, so that a message can name them.
constexpr Magic kMagics[] = {
    {0, "XFSB", "xfs"},
    {0x10040, "_BHRfS_M", "btrfs"},
    {0, "LUKS\xba\xbe", "LUKS (encrypted)"},
    {512, "LABELONE", "LVM2"},
    {4086, "SWAPSPACE2", "swap"},
    {0x8001, "CD001", "iso9660"},
    {0, "hsqs", "squashfs"},
    {3, "NTFS    ", "NTFS"},
    {3, "EXFAT   ", "exFAT"},
    {1024, "\xe2\xe1\xf5\xe0"sv, "erofs"},
    {1024, "\x10\x20\xf5\xf2"sv, "f2fs"},
};

bool has_magic(Source& source, const Magic& magic) {
  std::byte there[16];
  if (!source.read(magic.offset, std::span(there).first(magic.bytes.size()))) return false;
  return std::memcmp(there, magic.bytes.data(), magic.bytes.size()) == 0;
}

}  // namespace

Result<std::string> read_text(FileSystem& fs, const std::string& path, std::size_t limit) {
  VMM_TRY(std::unique_ptr<File> file, fs.open(path));
  if (file->size() > limit) {
    return fail(ErrorKind::kInvalid,
                fmt::format("{}: {} bytes are too many for this file", path, file->size()));
  }
  std::string text(static_cast<std::size_t>(file->size()), '\0');
  VMM_CHECK(file->read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

bool has_file(FileSystem& fs, const std::string& path) {
  return fs.open(path).has_value();
}

std::string identify(Source& source) {
  // Those with a superblock further in come before FAT, whose boot sector says least.
  for (const Magic& magic : kMagics) {
    if (has_magic(source, magic)) return magic.name;
  }
  if (is_ext(source)) return "ext";
  if (is_fat(source)) return "vfat";
  return "";
}

Result<std::unique_ptr<FileSystem>> open_file_system(Source& source) {
  if (is_ext(source)) return open_ext(source);
  const std::string type = identify(source);
  if (type == "vfat") return open_fat(source);
  if (type.empty()) return fail(ErrorKind::kUnsupported, "no file system that is known");
  return fail(ErrorKind::kUnsupported, type + " cannot be read");
}

}  // namespace vmm::bootfind
