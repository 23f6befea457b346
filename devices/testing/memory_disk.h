// SPDX-License-Identifier: Apache-2.0
// MemoryDisk: a Disk made of bytes, which can be told to wait and to fail.
#pragma once

#include <cstring>
#include <vector>

#include "disk/disk.h"
#include "vmm/io/sync.h"

namespace vmm::testing {

class MemoryDisk final : public disk::Disk {
 public:
  MemoryDisk(EventLoop& loop, std::uint64_t size, bool read_only = false)
      : bytes(size), loop_(loop), released_(loop), read_only_(read_only) {}

  std::uint64_t size() const override { return bytes.size(); }
  bool read_only() const override { return read_only_; }
  void set_read_only(bool read_only) { read_only_ = read_only; }
  const char* format() const override { return "raw"; }
  std::uint32_t optimal_io_size() const override { return 65536; }

  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override {
    std::uint64_t length = total_size(iov);
    VMM_CO_CHECK(co_await begin(offset, length));
    copy_to_iovec(std::span(bytes).subspan(offset, length), iov, 0);
    co_return Result<void>();
  }
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override {
    std::uint64_t length = total_size(iov);
    VMM_CO_CHECK(co_await begin(offset, length));
    copy_from_iovec(iov, 0, std::span(bytes).subspan(offset, length));
    ++nr_unflushed;
    co_return Result<void>();
  }
  Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) override {
    ++nr_discards;
    co_return co_await zero(offset, length);
  }
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                  disk::ZeroMode mode) override {
    last_zero_mode = mode;
    co_return co_await zero(offset, length);
  }
  Task<Result<void>> flush() override {
    VMM_CO_CHECK(co_await begin(0, 0));
    nr_unflushed = 0;
    ++nr_flushes;
    co_return Result<void>();
  }
  Task<Result<void>> close() override { co_return Result<void>(); }

  // While held, requests start and wait. All of this is for the loop's thread.
  void hold() { held_ = true; }
  void release() {
    held_ = false;
    released_.notify_all();
  }
  unsigned nr_waiting() const { return nr_waiting_; }
  unsigned nr_begun() const { return nr_begun_; }

  std::vector<std::byte> bytes;
  int fail_with = 0;    // an errno, for every request from now on
  bool yields = false;  // every request takes a turn of the loop
  unsigned nr_unflushed = 0;
  unsigned nr_flushes = 0;
  unsigned nr_discards = 0;
  disk::ZeroMode last_zero_mode = disk::ZeroMode::kKeepAllocated;

 private:
  Task<Result<void>> begin(std::uint64_t offset, std::uint64_t length) {
    if (yields) co_await loop_.yield();
    ++nr_begun_;
    ++nr_waiting_;
    while (held_) co_await released_.wait();
    --nr_waiting_;
    if (fail_with != 0) co_return fail_errno(fail_with, "memory disk");
    if (offset > bytes.size() || length > bytes.size() - offset) {
      co_return fail(ErrorKind::kOutOfRange, "memory disk: beyond the end");
    }
    co_return Result<void>();
  }
  Task<Result<void>> zero(std::uint64_t offset, std::uint64_t length) {
    VMM_CO_CHECK(co_await begin(offset, length));
    std::memset(bytes.data() + offset, 0, length);
    ++nr_unflushed;
    co_return Result<void>();
  }

  EventLoop& loop_;
  WaitQueue released_;
  bool read_only_;
  bool held_ = false;
  unsigned nr_waiting_ = 0;
  unsigned nr_begun_ = 0;
};

}  // namespace vmm::testing
