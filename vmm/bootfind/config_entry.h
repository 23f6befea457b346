// SPDX-License-Identifier: Apache-2.0
// ConfigEntry: one boot entry as a boot loader's configuration states it, before anyone has looked
// whether its files are there.
#pragma once

#include <string>
#include <vector>

namespace vmm::bootfind {

struct ConfigEntry {
  std::string id;                    // how the loader names it; may be empty
  std::string title;                 // image-controlled: not for a terminal as it is
  std::string kernel;                // path on some file system of the disk
  std::vector<std::string> initrds;  // in the order they are loaded
  std::string command_line;
  std::string root_uuid;  // of the file system the paths are on, where the configuration says so
};

// What a boot loader's configuration comes to.
struct BootConfig {
  std::vector<ConfigEntry> entries;
  std::size_t default_entry = 0;  // meaningful where there are entries
};

// The limits on what is read from an image's text files.
inline constexpr std::size_t kMaxConfigFile = 1 << 20;  // bytes
inline constexpr std::size_t kMaxEntries = 256;
inline constexpr std::size_t kMaxCommandLine = 16 << 10;  // bytes; Linux on x86 takes 2047

}  // namespace vmm::bootfind
