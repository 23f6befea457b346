// SPDX-License-Identifier: Apache-2.0
// AlignedBuffer: bytes that O_DIRECT takes without a bounce.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace vmm::disk {

class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 4096;

  AlignedBuffer() = default;
  // Not initialised. `size` comes from limits that were checked, never straight from an image.
  explicit AlignedBuffer(std::size_t size)
      : data_(static_cast<std::byte*>(::operator new(size, std::align_val_t(kAlignment)))),
        size_(size) {}
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer() { ::operator delete(data_, std::align_val_t(kAlignment)); }

  static AlignedBuffer zeroed(std::size_t size) {
    AlignedBuffer buffer(size);
    std::memset(buffer.data(), 0, size);
    return buffer;
  }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() { return {data_, size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  iovec as_iovec() { return {data_, size_}; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace vmm::disk
