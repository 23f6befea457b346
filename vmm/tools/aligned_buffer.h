// SPDX-License-Identifier: Apache-2.0
// AlignedBuffer: memory that O_DIRECT takes.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

namespace vmm::tools {

class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 4096;  // bytes

  AlignedBuffer() = default;
  // Empty, with data() null, where there is no memory: sizes come from the command line. Untouched
  // memory reads as what the allocator gives: fill it before use.
  explicit AlignedBuffer(std::size_t size)
      : bytes_(static_cast<std::byte*>(
            std::aligned_alloc(kAlignment, (size + kAlignment) / kAlignment * kAlignment))),
        size_(bytes_ ? size : 0) {}

  std::byte* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }
  std::span<std::byte> span() const { return {bytes_.get(), size_}; }
  explicit operator bool() const { return bytes_ != nullptr; }
  iovec as_iovec() const { return {bytes_.get(), size_}; }
  void fill(std::byte value) const {
    if (size_ != 0) std::memset(bytes_.get(), static_cast<int>(value), size_);
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_ = 0;
};

}  // namespace vmm::tools
