// SPDX-License-Identifier: Apache-2.0
#include "disk/raw_disk.h"

#include "disk/checks.h"

namespace vmm::disk {

Task<Result<void>> RawDisk::readv(std::uint64_t offset, IoVec iov) {
  Result<void> checked = check_range(*this, offset, total_size(iov));
  if (!checked) return failed(std::move(checked).error());
  return storage_->readv(offset, iov);
}

Task<Result<void>> RawDisk::writev(std::uint64_t offset, IoVec iov) {
  Result<void> checked = check_writable(*this, offset, total_size(iov));
  if (!checked) return failed(std::move(checked).error());
  if (options_.detect_zeroes && is_zero(iov)) {
    return write_zeroes(offset, total_size(iov),
                        options_.discard ? ZeroMode::kMayUnmap : ZeroMode::kKeepAllocated);
  }
  return storage_->writev(offset, iov);
}

Task<Result<void>> RawDisk::discard(std::uint64_t offset, std::uint64_t length) {
  VMM_CO_CHECK(check_writable(*this, offset, length));
  if (!options_.discard) co_return Result<void>();
  VMM_CO_CHECK(co_await storage_->punch(offset, length));  // advice: a storage that cannot is fine
  co_return Result<void>();
}

Task<Result<void>> RawDisk::write_zeroes(std::uint64_t offset, std::uint64_t length,
                                         ZeroMode mode) {
  VMM_CO_CHECK(check_writable(*this, offset, length));
  if (mode == ZeroMode::kMayUnmap) {
    VMM_CO_TRY(bool zeroed, co_await storage_->punch(offset, length));
    if (zeroed) co_return Result<void>();
  }
  co_return co_await storage_->write_zeroes(offset, length);
}

Task<Result<void>> RawDisk::flush() {
  if (read_only()) co_return Result<void>();
  co_return co_await storage_->sync();
}

Task<Result<void>> RawDisk::grow(std::uint64_t size) {
  VMM_CO_CHECK(co_await storage_->truncate(size));
  size_ = size;
  co_return co_await storage_->sync();
}

Task<Result<void>> RawDisk::close() {
  VMM_CO_CHECK(co_await flush());
  // Whole blocks written through O_DIRECT may have made the file longer than the disk.
  if (!read_only() && storage_->size() > size_) co_return co_await storage_->truncate(size_);
  co_return Result<void>();
}

}  // namespace vmm::disk
