// SPDX-License-Identifier: Apache-2.0
// Arithmetic on scatter lists. Block requests arrive as lists of guest buffers and are cut at
// cluster borders; the bytes themselves are never moved by that.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vmm {

using IoVec = std::span<const iovec>;

std::uint64_t total_size(IoVec iov);  // bytes

inline iovec as_iovec(std::span<std::byte> bytes) {
  return {bytes.data(), bytes.size()};
}
// For the write side of an interface that takes iovec, which has no const form.
inline iovec as_iovec(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

// The parts of `iov` that hold bytes [skip, skip + length), appended to `out`. The range must lie
// inside.
void append_slice(IoVec iov, std::uint64_t skip, std::uint64_t length, std::vector<iovec>& out);

// Walks a list from its start, in pieces of the caller's choice, without going back.
class IovecCursor {
 public:
  explicit IovecCursor(IoVec iov) : rest_(iov) {}

  // Appends the next `length` bytes to `out` and moves past them. They must be there.
  void take(std::uint64_t length, std::vector<iovec>& out);

 private:
  IoVec rest_;
  std::size_t used_ = 0;  // bytes of rest_[0] that were taken
};

// memset and memcpy for a part of a list; the range must lie inside it.
void fill(IoVec iov, std::uint64_t skip, std::uint64_t length, std::byte value);
void copy_to_iovec(std::span<const std::byte> from, IoVec to, std::uint64_t skip);
void copy_from_iovec(IoVec from, std::uint64_t skip, std::span<std::byte> to);
bool is_zero(IoVec iov);

}  // namespace vmm
