// SPDX-License-Identifier: Apache-2.0
// SparseStorage: a Storage in memory in which any offset can be written, within a limit on what is
// stored: fuzzed images point anywhere. It can fail from a given operation on.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>

#include "disk/storage.h"
#include "vmm/io/event_loop.h"

namespace vmm::fuzz {

class SparseStorage final : public disk::Storage {
 public:
  static constexpr std::uint64_t kBlock = 4096;
  static constexpr std::size_t kMaxBlocks = 8192;  // 32 MiB

  // Survives its storage, so that the image can be opened again.
  struct Bytes {
    std::map<std::uint64_t, std::array<std::byte, kBlock>> blocks;
    std::uint64_t size = 0;
    unsigned operations_until_failure = ~0u;
    bool fail_once = false;
  };

  SparseStorage(EventLoop& loop, std::shared_ptr<Bytes> bytes, bool read_only, bool yields)
      : loop_(loop), bytes_(std::move(bytes)), read_only_(read_only), yields_(yields) {}

  std::uint64_t size() const override { return bytes_->size; }
  bool read_only() const override { return read_only_; }
  std::uint32_t alignment() const override { return 1; }
  bool fresh_is_zero() const override { return true; }

  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override {
    VMM_CO_CHECK(co_await begin());
    for (const iovec& part : iov) {
      each_block(
          offset, part.iov_len,
          [&](std::uint64_t block, std::uint64_t skip, std::uint64_t at, std::uint64_t length) {
            auto* to = static_cast<std::byte*>(part.iov_base) + at;
            auto found = bytes_->blocks.find(block);
            if (found == bytes_->blocks.end()) {
              std::memset(to, 0, length);
            } else {
              std::memcpy(to, found->second.data() + skip, length);
            }
            return true;
          });
      offset += part.iov_len;
    }
    co_return Result<void>();
  }

  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override {
    VMM_CO_CHECK(co_await begin());
    for (const iovec& part : iov) {
      const auto* from = static_cast<const std::byte*>(part.iov_base);
      bool stored = each_block(
          offset, part.iov_len,
          [&](std::uint64_t block, std::uint64_t skip, std::uint64_t at, std::uint64_t length) {
            if (bytes_->blocks.size() >= kMaxBlocks && !bytes_->blocks.contains(block))
              return false;
            std::memcpy(bytes_->blocks[block].data() + skip, from + at, length);
            return true;
          });
      if (!stored) co_return fail_errno(ENOSPC, "sparse storage");
      offset += part.iov_len;
      bytes_->size = std::max(bytes_->size, offset);
    }
    co_return Result<void>();
  }

  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length) override {
    VMM_CO_CHECK(co_await begin());
    clear(offset, length);
    bytes_->size = std::max(bytes_->size, offset + length);
    co_return Result<void>();
  }
  Task<Result<bool>> punch(std::uint64_t offset, std::uint64_t length) override {
    VMM_CO_CHECK(co_await begin());
    clear(offset, length);
    co_return true;
  }
  Task<Result<void>> sync() override { co_return co_await begin(); }
  Task<Result<void>> truncate(std::uint64_t size) override {
    VMM_CO_CHECK(co_await begin());
    if (size < bytes_->size) clear(size, bytes_->size - size);
    bytes_->size = size;
    co_return Result<void>();
  }
  Task<Result<void>> allocate(std::uint64_t offset, std::uint64_t length) override {
    VMM_CO_CHECK(co_await begin());
    bytes_->size = std::max(bytes_->size, offset + length);
    co_return Result<void>();
  }
  Result<Extent> extent_at(std::uint64_t offset) override {
    const std::uint64_t block = offset / kBlock;
    auto stored = bytes_->blocks.lower_bound(block);
    if (stored == bytes_->blocks.end()) return Extent{bytes_->size, false};
    if (stored->first != block)
      return Extent{std::min(bytes_->size, stored->first * kBlock), false};
    return Extent{std::min(bytes_->size, (block + 1) * kBlock), true};
  }
  std::uint64_t allocated_size() const override { return bytes_->blocks.size() * kBlock; }

 private:
  Task<Result<void>> begin() {
    if (yields_) co_await loop_.yield();
    if (bytes_->operations_until_failure == 0) {
      if (bytes_->fail_once) bytes_->operations_until_failure = ~0u;
      co_return fail_errno(EIO, "sparse storage");
    }
    --bytes_->operations_until_failure;
    co_return Result<void>();
  }

  template <class Visit>
  static bool each_block(std::uint64_t offset, std::uint64_t length, Visit visit) {
    for (std::uint64_t at = 0; at < length;) {
      std::uint64_t skip = (offset + at) % kBlock;
      std::uint64_t part = std::min(kBlock - skip, length - at);
      if (!visit((offset + at) / kBlock, skip, at, part)) return false;
      at += part;
    }
    return true;
  }

  void clear(std::uint64_t offset, std::uint64_t length) {
    // By what is stored, not by the range: that may be the whole address space.
    std::uint64_t end = offset + length;
    auto first = bytes_->blocks.lower_bound(offset / kBlock);
    while (first != bytes_->blocks.end() && first->first * kBlock < end) {
      std::uint64_t start = first->first * kBlock;
      std::uint64_t from = std::max(offset, start) - start;
      std::uint64_t to = std::min(end, start + kBlock) - start;
      std::memset(first->second.data() + from, 0, to - from);
      first = from == 0 && to == kBlock ? bytes_->blocks.erase(first) : std::next(first);
    }
  }

  EventLoop& loop_;
  std::shared_ptr<Bytes> bytes_;
  const bool read_only_;
  const bool yields_;
};

}  // namespace vmm::fuzz
