// SPDX-License-Identifier: Apache-2.0
// A file by whatever name.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace vmm {

// 0, 0: not known.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool known() const { return device != 0 || inode != 0; }
  bool operator==(const FileId&) const = default;
};

inline FileId file_id(const std::string& path) {
  struct stat file;
  if (::stat(path.c_str(), &file) != 0) return {};
  return {file.st_dev, file.st_ino};
}

}  // namespace vmm
