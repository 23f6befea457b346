// SPDX-License-Identifier: Apache-2.0
// RawDisk: the image's bytes are the disk's bytes. A disk has whole sectors: behind a file that
// ends inside one there are zeros, and a write to them makes the file longer.
#pragma once

#include <memory>

#include "disk/disk.h"
#include "disk/storage.h"

namespace vmm::disk {

struct RawOptions {
  bool discard = true;         // what is discarded gives its space back
  bool detect_zeroes = false;  // writes of zeros give it back, too
};

class RawDisk : public Disk {
 public:
  explicit RawDisk(std::unique_ptr<Storage> storage, RawOptions options = {})
      : storage_(std::move(storage)),
        size_((storage_->size() + kSector - 1) / kSector * kSector),
        options_(options) {}

  Storage& storage() { return *storage_; }

  std::uint64_t size() const override { return size_; }
  bool read_only() const override { return storage_->read_only(); }
  const char* format() const override { return "raw"; }
  std::uint32_t optimal_io_size() const override { return 4096; }
  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                  ZeroMode mode) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> close() override;

  // In bytes, whole sectors, more than now. Nothing else may be under way.
  Task<Result<void>> grow(std::uint64_t size);

 private:
  static constexpr std::uint64_t kSector = 512;  // bytes

  std::unique_ptr<Storage> storage_;
  std::uint64_t size_;
  const RawOptions options_;
};

}  // namespace vmm::disk
