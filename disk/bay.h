// SPDX-License-Identifier: Apache-2.0
// Bay: a disk of no bytes, until another one is put in.
#pragma once

#include <atomic>

#include "disk/disk.h"

namespace vmm::disk {

class Bay final : public Disk {
 public:
  // nullptr takes it out. Nothing may be under way; `disk` is the caller's.
  void put(Disk* disk) {
    disk_ = disk;
    read_only_.store(disk != nullptr && disk->read_only(), std::memory_order_relaxed);
  }

  std::uint64_t size() const override { return disk_ == nullptr ? 0 : disk_->size(); }
  // From any thread.
  bool read_only() const override { return read_only_.load(std::memory_order_relaxed); }
  // These hold whatever is in it, so that other threads may ask.
  const char* format() const override { return "none"; }
  std::uint32_t optimal_io_size() const override { return 4096; }

  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override {
    return disk_ == nullptr ? empty() : disk_->readv(offset, iov);
  }
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override {
    return disk_ == nullptr ? empty() : disk_->writev(offset, iov);
  }
  Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) override {
    return disk_ == nullptr ? empty() : disk_->discard(offset, length);
  }
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                  ZeroMode mode) override {
    return disk_ == nullptr ? empty() : disk_->write_zeroes(offset, length, mode);
  }
  Task<Result<void>> flush() override { return disk_ == nullptr ? done() : disk_->flush(); }
  Task<Result<void>> close() override { return done(); }

 private:
  static Task<Result<void>> empty() { co_return fail(ErrorKind::kOutOfRange, "there is no disk"); }
  static Task<Result<void>> done() { co_return Result<void>(); }

  Disk* disk_ = nullptr;
  std::atomic<bool> read_only_ = false;
};

}  // namespace vmm::disk
