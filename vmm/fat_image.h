// SPDX-License-Identifier: Apache-2.0
// A FAT12 file system with a few files, made in memory.
// Layout: Microsoft's "FAT: General Overview of On-Disk Format", 1.03, long names included.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/result.h"

namespace vmm {

struct FatFile {
  std::string name;  // ASCII, at most 26 characters, none of \/:*?"<>|
  std::string_view content;
};

// What the files may hold together, in bytes, each rounded up to 4 KiB.
inline constexpr std::size_t kMaxFatContent = std::size_t{15} << 20;

// The whole volume, without a partition table. `label`: at most 11 capitals. At most 16 files.
Result<std::vector<std::byte>> make_fat_image(std::string_view label,
                                              std::span<const FatFile> files);

}  // namespace vmm
