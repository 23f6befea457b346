// SPDX-License-Identifier: Apache-2.0
// ImageFile: a kernel or initrd on the host, read at given offsets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::x86 {

class ImageFile {
 public:
  // `flag` is how the user gave the path ("--kernel"), for error messages. Fails for what is not a
  // regular file.
  static Result<ImageFile> open(const std::string& path, const char* flag);

  std::uint64_t size() const { return size_; }  // bytes

  // Fills all of `to`; fails where the file ends before.
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) const;
  // At most to.size() bytes from the start; returns how many there were.
  Result<std::size_t> read_start(std::span<std::byte> to) const;

  // An Error about this file: "--kernel vmlinuz: what".
  Unexpected<Error> fail(ErrorKind kind, const std::string& what) const;

 private:
  ImageFile(UniqueFd fd, std::string name, std::uint64_t size)
      : fd_(std::move(fd)), name_(std::move(name)), size_(size) {}
  Result<std::size_t> read_some(std::uint64_t offset, std::span<std::byte> to) const;

  UniqueFd fd_;
  std::string name_;  // flag and path
  std::uint64_t size_;
};

}  // namespace vmm::x86
