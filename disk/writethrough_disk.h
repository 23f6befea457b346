// SPDX-License-Identifier: Apache-2.0
// WritethroughDisk: what was written is durable when the request is done.
#pragma once

#include <memory>

#include "disk/disk.h"

namespace vmm::disk {

class WritethroughDisk final : public Disk {
 public:
  explicit WritethroughDisk(std::unique_ptr<Disk> disk) : disk_(std::move(disk)) {}

  Disk& inner() { return *disk_; }

  std::uint64_t size() const override { return disk_->size(); }
  bool read_only() const override { return disk_->read_only(); }
  const char* format() const override { return disk_->format(); }
  std::uint32_t optimal_io_size() const override { return disk_->optimal_io_size(); }
  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override {
    return disk_->readv(offset, iov);
  }
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override {
    return then_flush(disk_->writev(offset, iov));
  }
  Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) override {
    return then_flush(disk_->discard(offset, length));
  }
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                  ZeroMode mode) override {
    return then_flush(disk_->write_zeroes(offset, length, mode));
  }
  Task<Result<void>> flush() override { return disk_->flush(); }
  Task<Result<void>> close() override { return disk_->close(); }

 private:
  Task<Result<void>> then_flush(Task<Result<void>> change) {
    VMM_CO_CHECK(co_await change);
    co_return co_await disk_->flush();
  }

  std::unique_ptr<Disk> disk_;
};

}  // namespace vmm::disk
