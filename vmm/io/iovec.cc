// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/iovec.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace vmm {
namespace {

// Calls visit(bytes) for each piece of [skip, skip + length).
template <class Visit>
void for_each_piece(IoVec iov, std::uint64_t skip, std::uint64_t length, Visit visit) {
  for (const iovec& part : iov) {
    if (length == 0) return;
    if (skip >= part.iov_len) {
      skip -= part.iov_len;
      continue;
    }
    std::size_t size = std::min<std::uint64_t>(part.iov_len - skip, length);
    visit(std::span(static_cast<std::byte*>(part.iov_base) + skip, size));
    length -= size;
    skip = 0;
  }
  assert(length == 0 && "the range leaves the list");
}

bool is_zero(std::span<const std::byte> bytes) {
  if (bytes.empty()) return true;
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

std::uint64_t total_size(IoVec iov) {
  std::uint64_t total = 0;
  for (const iovec& part : iov) total += part.iov_len;
  return total;
}

void append_slice(IoVec iov, std::uint64_t skip, std::uint64_t length, std::vector<iovec>& out) {
  for_each_piece(iov, skip, length,
                 [&](std::span<std::byte> piece) { out.push_back(as_iovec(piece)); });
}

void IovecCursor::take(std::uint64_t length, std::vector<iovec>& out) {
  while (length > 0) {
    assert(!rest_.empty() && "more was taken than the list holds");
    std::size_t size = std::min<std::uint64_t>(rest_[0].iov_len - used_, length);
    if (size > 0) out.push_back({static_cast<std::byte*>(rest_[0].iov_base) + used_, size});
    used_ += size;
    length -= size;
    if (used_ == rest_[0].iov_len) {
      rest_ = rest_.subspan(1);
      used_ = 0;
    }
  }
}

void fill(IoVec iov, std::uint64_t skip, std::uint64_t length, std::byte value) {
  for_each_piece(iov, skip, length, [&](std::span<std::byte> piece) {
    std::memset(piece.data(), static_cast<int>(value), piece.size());
  });
}

void copy_to_iovec(std::span<const std::byte> from, IoVec to, std::uint64_t skip) {
  for_each_piece(to, skip, from.size(), [&](std::span<std::byte> piece) {
    std::memcpy(piece.data(), from.data(), piece.size());
    from = from.subspan(piece.size());
  });
}

void copy_from_iovec(IoVec from, std::uint64_t skip, std::span<std::byte> to) {
  for_each_piece(from, skip, to.size(), [&](std::span<std::byte> piece) {
    std::memcpy(to.data(), piece.data(), piece.size());
    to = to.subspan(piece.size());
  });
}

bool is_zero(IoVec iov) {
  return std::all_of(iov.begin(), iov.end(), [](const iovec& part) {
    return is_zero(std::span(static_cast<const std::byte*>(part.iov_base), part.iov_len));
  });
}

}  // namespace vmm
