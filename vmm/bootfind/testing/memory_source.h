// SPDX-License-Identifier: Apache-2.0
// Sources for tests: bytes in memory, and a file on the host.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "vmm/bootfind/source.h"
#include "vmm/core/unique_fd.h"

namespace vmm::bootfind {

class MemorySource : public Source {
 public:
  explicit MemorySource(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  explicit MemorySource(std::size_t size) : bytes_(size) {}

  std::vector<std::byte>& bytes() { return bytes_; }
  std::uint64_t size() const override { return bytes_.size(); }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override {
    if (!lies_inside(offset, to.size(), size())) {
      return fail(ErrorKind::kOutOfRange, "a read beyond the end");
    }
    if (!to.empty()) std::memcpy(to.data(), bytes_.data() + offset, to.size());
    return {};
  }

 private:
  std::vector<std::byte> bytes_;
};

class FileSource : public Source {
 public:
  explicit FileSource(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (::fstat(fd_.get(), &status) == 0) size_ = static_cast<std::uint64_t>(status.st_size);
  }

  std::uint64_t size() const override { return size_; }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override {
    if (!lies_inside(offset, to.size(), size_)) {
      return fail(ErrorKind::kOutOfRange, "a read beyond the end");
    }
    ssize_t got = ::pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 || static_cast<std::size_t>(got) != to.size()) return fail_errno(errno, "pread");
    return {};
  }

 private:
  UniqueFd fd_;
  std::uint64_t size_ = 0;
};

}  // namespace vmm::bootfind
