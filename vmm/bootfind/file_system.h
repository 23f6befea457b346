// SPDX-License-Identifier: Apache-2.0
// FileSystem: reading files and directories out of a partition. Every byte below it is the image's,
// so names, sizes and links are believed only as far as they were checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vmm/core/result.h"

namespace vmm::bootfind {

class Source;

class File {
 public:
  virtual ~File() = default;
  virtual std::uint64_t size() const = 0;  // bytes, as the image claims
  // Fills `to` from `offset` on; all of it must lie inside size().
  virtual Result<void> read(std::uint64_t offset, std::span<std::byte> to) = 0;
};

class FileSystem {
 public:
  static constexpr std::size_t kMaxNames = 10000;  // in one directory; more are not seen
  static constexpr std::size_t kMaxPath = 4096;    // bytes

  virtual ~FileSystem() = default;
  virtual const char* type() const = 0;  // "ext4", "vfat"
  // As blkid prints it and root=UUID= takes it.
  virtual const std::string& uuid() const = 0;

  // Paths are absolute; symbolic links are followed inside the file system, up to a limit.
  // kNotFound: nothing there, or not a regular file.
  virtual Result<std::unique_ptr<File>> open(const std::string& path) = 0;
  // Names of all kinds of entries but "." and "..", in the directory's order.
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;
  virtual bool has_directory(const std::string& path) = 0;
};

// The whole file, refused where it is longer than `limit` bytes.
Result<std::string> read_text(FileSystem& fs, const std::string& path, std::size_t limit);
bool has_file(FileSystem& fs, const std::string& path);

// What a partition holds, by its magic numbers: "ext4", "vfat", "xfs", "LVM2", ... or nothing.
std::string identify(Source& source);

// Opens ext2/3/4 and FAT. kUnsupported names what else it is ("xfs cannot be read").
// `source` must stay while the file system is used.
Result<std::unique_ptr<FileSystem>> open_file_system(Source& source);

}  // namespace vmm::bootfind
