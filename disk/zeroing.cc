// SPDX-License-Identifier: Apache-2.0
#include "disk/zeroing.h"

#include <algorithm>

namespace vmm::disk {
namespace {

// Bytes of one operation. The kernel may have to write all of them, and cannot be stopped
// meanwhile.
constexpr std::uint64_t kPiece = std::uint64_t{256} << 20;

}  // namespace

Task<Result<void>> make_zero(Storage& storage, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t there = offset < storage.size() ? storage.size() - offset : 0;
  const std::uint64_t end = offset + std::min(length, there);
  while (offset < end) {
    // Pieces end where blocks do, whatever the offset.
    const std::uint64_t piece = std::min(end - offset, kPiece - offset % kPiece);
    VMM_CO_TRY(const bool punched, co_await storage.punch(offset, piece));
    if (!punched) {
      VMM_CO_CHECK(co_await storage.write_zeroes(offset, piece));
    }
    offset += piece;
  }
  co_return Result<void>();
}

}  // namespace vmm::disk
