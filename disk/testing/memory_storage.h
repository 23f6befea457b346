// SPDX-License-Identifier: Apache-2.0
// MemoryStorage: a Storage in memory. Operations end some loop turns after they began, in an order
// the seed decides, so that tests see the interleavings a real disk produces.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "disk/storage.h"
#include "vmm/io/event_loop.h"

namespace vmm::disk {

class MemoryStorage : public Storage {
 public:
  // Shared so that a test can open the same bytes again after a storage is gone.
  struct Bytes {
    std::vector<std::byte> data;
    bool device = false;  // a block device: of fixed size, and never empty
    bool can_punch = true;
    std::uint64_t nr_reads = 0;
    std::uint64_t nr_writes = 0;
    std::uint64_t nr_syncs = 0;
  };

  // The bytes of a device that was in use before.
  static std::shared_ptr<Bytes> used_device(std::uint64_t size, bool can_punch = true) {
    auto bytes = std::make_shared<Bytes>();
    bytes->device = true;
    bytes->can_punch = can_punch;
    bytes->data.assign(size, kLeftOver);
    return bytes;
  }
  static constexpr std::byte kLeftOver{0xd5};

  // `max_delay`: in loop turns; 0 ends every operation at once.
  MemoryStorage(EventLoop& loop, std::shared_ptr<Bytes> bytes, unsigned max_delay = 0,
                std::uint64_t seed = 1, bool read_only = false)
      : loop_(loop),
        bytes_(std::move(bytes)),
        max_delay_(max_delay),
        random_(seed),
        read_only_(read_only) {}

  std::uint64_t size() const override { return bytes_->data.size(); }
  bool read_only() const override { return read_only_; }
  std::uint32_t alignment() const override { return 1; }
  bool fresh_is_zero() const override { return !bytes_->device; }

  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override {
    ++bytes_->nr_reads;
    co_await delay();
    for (const iovec& part : iov) {
      std::uint64_t there = offset < size() ? size() - offset : 0;
      std::size_t copied = std::min<std::uint64_t>(part.iov_len, there);
      std::memcpy(part.iov_base, bytes_->data.data() + (copied > 0 ? offset : 0), copied);
      std::memset(static_cast<std::byte*>(part.iov_base) + copied, 0, part.iov_len - copied);
      offset += part.iov_len;
    }
    co_await delay();
    co_return Result<void>();
  }

  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override {
    ++bytes_->nr_writes;
    co_await delay();
    VMM_CO_CHECK(grow(offset + total_size(iov)));
    for (const iovec& part : iov) {
      std::memcpy(bytes_->data.data() + offset, part.iov_base, part.iov_len);
      offset += part.iov_len;
    }
    co_await delay();
    co_return Result<void>();
  }

  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length) override {
    co_await delay();
    VMM_CO_CHECK(grow(offset + length));
    std::memset(bytes_->data.data() + offset, 0, length);
    co_await delay();
    co_return Result<void>();
  }

  Task<Result<bool>> punch(std::uint64_t offset, std::uint64_t length) override {
    co_await delay();
    if (!bytes_->can_punch) co_return false;
    if (offset < size()) {
      std::memset(bytes_->data.data() + offset, 0, std::min(length, size() - offset));
    }
    co_await delay();
    co_return true;
  }

  Task<Result<void>> sync() override {
    ++bytes_->nr_syncs;
    co_await delay();
    co_return Result<void>();
  }

  Task<Result<void>> truncate(std::uint64_t size) override {
    if (bytes_->device) co_return grow(size);
    bytes_->data.resize(size);
    co_return Result<void>();
  }

  Task<Result<void>> allocate(std::uint64_t offset, std::uint64_t length) override {
    co_return grow(offset + length);
  }

  Result<Extent> extent_at(std::uint64_t) override { return Extent{size(), true}; }
  std::uint64_t allocated_size() const override { return size(); }

 private:
  Result<void> grow(std::uint64_t size) {
    if (bytes_->data.size() >= size) return {};
    if (bytes_->device) return fail(ErrorKind::kNoSpace, "a block device cannot grow");
    bytes_->data.resize(size);
    return {};
  }
  Task<void> delay() {
    for (unsigned turns = max_delay_ == 0 ? 0 : random_() % (max_delay_ + 1); turns > 0; --turns) {
      co_await loop_.yield();
    }
  }

  EventLoop& loop_;
  std::shared_ptr<Bytes> bytes_;
  const unsigned max_delay_;
  std::mt19937_64 random_;
  const bool read_only_;
};

}  // namespace vmm::disk
