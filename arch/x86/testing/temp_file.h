// SPDX-License-Identifier: Apache-2.0
// A file with given contents that goes away with the object.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm::x86::testing {

class TempFile {
 public:
  explicit TempFile(std::span<const std::byte> contents) {
    int fd = ::mkstemp(path_.data());
    REQUIRE(fd >= 0);
    REQUIRE(::write(fd, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
    ::close(fd);
  }
  explicit TempFile(std::string_view text) : TempFile(std::as_bytes(std::span(text))) {}
  ~TempFile() { ::unlink(path_.c_str()); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/vmm-x86-test-XXXXXX";
};

}  // namespace vmm::x86::testing
