// SPDX-License-Identifier: Apache-2.0
// The entries of one FAT directory: short names, and the long names spread over entries in front
// of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vmm::bootfind {

struct FatEntry {
  std::string name;        // UTF-8
  std::string short_name;  // "GRUB~1.CFG"; the same as name where there is no long one
  bool directory = false;
  std::uint32_t first_cluster = 0;  // image-controlled
  std::uint32_t size = 0;           // bytes; image-controlled
};

// `bytes` holds 32-byte entries up to the end mark or the end. "." and ".." and volume labels are
// left out.
std::vector<FatEntry> parse_fat_directory(std::span<const std::byte> bytes);

// FAT names differ in more than the case of ASCII letters only by code page, which boot files
// avoid.
bool same_fat_name(const std::string& a, const std::string& b);

}  // namespace vmm::bootfind
