// SPDX-License-Identifier: Apache-2.0
// FileStorage: a regular file or a block device, through the event loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "disk/block_order.h"
#include "disk/storage.h"
#include "disk/write_merger.h"
#include "vmm/core/unique_fd.h"
#include "vmm/io/budget.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm::disk {

// Opens a file with these flags (open(2)) where FileStorage would, and locks it where it is to be.
using FileOpener = std::function<Result<UniqueFd>(const std::string& path, int flags)>;

struct FileOptions {
  bool read_only = false;
  bool direct = false;     // O_DIRECT; what is not aligned goes through a bounce buffer
  bool lock = true;        // as QEMU does, see image_lock.h
  bool no_sync = false;    // sync() does nothing: cache=unsafe
  bool create = false;     // make it, or empty it; only where it is not locked by others
  bool no_follow = false;  // refuse a symbolic link as the last part of the path
  // Treat it as one that takes only whole blocks of so many bytes: for tests. A power of two.
  std::uint32_t block_size = 1;
  FileOpener opener;  // for processes that may open nothing themselves
};

class FileStorage : public Storage {
 public:
  // Errors do not repeat `path`. Fails for what is neither a regular file nor a block device.
  static Result<std::unique_ptr<FileStorage>> open(EventLoop& loop, const std::string& path,
                                                   const FileOptions& options);

  // An empty file that has no name and is gone with this object, in $TMPDIR or /var/tmp.
  static Result<std::unique_ptr<FileStorage>> create_temporary(EventLoop& loop);

  // No operation may be under way. The image's lock is gone at once.
  ~FileStorage() override;

  int fd() const { return fd_.get(); }

  std::uint64_t size() const override { return size_; }
  bool read_only() const override { return options_.read_only; }
  std::uint32_t alignment() const override { return alignment_; }
  bool fresh_is_zero() const override { return !block_device_; }
  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<bool>> punch(std::uint64_t offset, std::uint64_t length) override;
  // Once it has failed it fails for good.
  Task<Result<void>> sync() override;
  Task<Result<void>> truncate(std::uint64_t size) override;
  Task<Result<void>> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<Extent> extent_at(std::uint64_t offset) override;
  std::uint64_t allocated_size() const override;

 private:
  FileStorage(EventLoop& loop, UniqueFd fd, const FileOptions& options);
  Result<void> init(bool lock);
  bool read_at_once(std::uint64_t offset, IoVec iov, std::uint64_t length);
  bool is_aligned(std::uint64_t offset, IoVec iov) const;
  Task<Result<void>> read_rest(std::uint64_t offset, IoVec iov, std::uint64_t done);
  Task<Result<void>> write_rest(std::uint64_t offset, IoVec iov, std::uint64_t done);
  Task<Result<void>> bounced_read(std::uint64_t offset, IoVec iov);
  Task<Result<void>> bounced_write(std::uint64_t offset, IoVec iov);
  Task<Result<void>> bounce_out(std::uint64_t from, std::uint64_t end, IoVec iov,
                                std::uint64_t done);
  Task<Result<void>> write_zero_bytes(std::uint64_t offset, std::uint64_t length);
  Task<std::int64_t> fallocate_blocks(int mode, std::uint64_t offset, std::uint64_t length);
  Task<Result<void>> write_zero_edges(std::uint64_t offset, std::uint64_t length);
  std::uint64_t first_block(std::uint64_t offset) const;
  std::uint64_t end_of_blocks(std::uint64_t end) const;
  void grew_to(std::uint64_t end) {
    if (end > size_) size_ = end;
  }

  EventLoop& loop_;
  UniqueFd fd_;
  const FileOptions options_;
  bool block_device_ = false;
  bool can_read_at_once_ = true;
  std::uint64_t at_once_turn_ = 0;  // of the loop, and how many were read at once in it
  unsigned nr_at_once_ = 0;
  bool can_punch_ = true;
  bool can_zero_range_ = true;
  std::uint32_t alignment_ = 1;
  std::uint32_t block_ = 1;  // what fallocate() takes, in bytes: a sector of a device
  std::uint64_t size_ = 0;
  std::optional<Error> sync_failure_;
  WriteMerger merger_;
  BlockOrder order_;  // of changes, where alignment_ is more than 1
  Budget bounces_;    // bytes of buffers for what is not aligned
};

}  // namespace vmm::disk
