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
    std::uint64_t nr_reads = 0;
    std::uint64_t nr_writes = 0;
    std::uint64_t nr_syncs = 0;
  };

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
    grow(offset + total_size(iov));
    for (const iovec& part : iov) {
      std::memcpy(bytes_->data.data() + offset, part.iov_base, part.iov_len);
      offset += part.iov_len;
    }
    co_await delay();
    co_return Result<void>();
  }

  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length) override {
    co_await delay();
    grow(offset + length);
    std::memset(bytes_->data.data() + offset, 0, length);
    co_await delay();
    co_return Result<void>();
  }

  Task<Result<bool>> punch(std::uint64_t offset, std::uint64_t length) override {
    co_await delay();
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
    bytes_->data.resize(size);
    co_return Result<void>();
  }

  Task<Result<void>> allocate(std::uint64_t offset, std::uint64_t length) override {
    grow(offset + length);
    co_return Result<void>();
  }

  Result<Extent> extent_at(std::uint64_t) override { return Extent{size(), true}; }
  std::uint64_t allocated_size() const override { return size(); }

 private:
  void grow(std::uint64_t size) {
    if (bytes_->data.size() < size) bytes_->data.resize(size);
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
