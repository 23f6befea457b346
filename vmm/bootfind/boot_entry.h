// SPDX-License-Identifier: Apache-2.0
// BootEntry: one thing a disk offers to boot, whose kernel is there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vmm::bootfind {

// In the order in which they are preferred.
enum class BootMethod : std::uint8_t { kBls, kGrub, kSyslinux, kPlain };

// All strings but `where` are image-controlled; printable() makes them fit for a terminal.
struct BootEntry {
  BootMethod method = BootMethod::kPlain;
  bool is_default = false;
  std::string id;  // what --boot takes, besides the number in the list
  std::string title;
  std::string where;   // "partition 1 (ext4), /boot/grub/grub.cfg"
  std::string kernel;  // its path
  std::vector<std::string> initrds;
  std::string command_line;
};

struct FinderOptions {
  std::string disk_name = "/dev/vda";       // what the guest calls this disk, for root=
  bool read_only = false;                   // the guest may not write to it
  std::uint64_t max_kernel = 256ULL << 20;  // bytes
  std::uint64_t max_initrd = 1ULL << 30;    // bytes, of all initrds together
};

// The text as UTF-8 without control characters, which a terminal would obey: "?" stands for those
// and for bytes that are no UTF-8; a tab becomes a space.
std::string printable(const std::string& text);

}  // namespace vmm::bootfind
