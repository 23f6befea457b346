// SPDX-License-Identifier: Apache-2.0
// Storage: the bytes under an image format. A file or block device in the program; memory, or a
// storage that fails on purpose, in tests.
//
// A storage belongs to one EventLoop. Any number of operations may be under way at once, in any
// order; nothing is durable before a sync() that began after the operation ended. Errors say what
// was tried and why it failed; the caller names the image.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/core/result.h"
#include "vmm/io/iovec.h"
#include "vmm/io/task.h"

namespace vmm::disk {

class Storage {
 public:
  // What lies at an offset, and up to where.
  struct Extent {
    std::uint64_t end = 0;  // bytes, exclusive; beyond the offset asked for
    bool data = false;      // false: a hole, which reads as zeros
  };

  virtual ~Storage() = default;

  // Bytes. Grows with writes beyond the end. A block device has a fixed size.
  virtual std::uint64_t size() const = 0;
  virtual bool read_only() const = 0;
  // Offsets, lengths and addresses that are multiples of this go through without a bounce buffer;
  // others work too. A power of two, 1 where nothing is needed.
  virtual std::uint32_t alignment() const = 0;
  // Whether what nobody has written yet reads as zeros: what lies behind the end, and what
  // truncate() adds. Not so on a block device, which holds what its last user left: whatever is to
  // read as zeros there has to be zeroed, see make_zero() in zeroing.h.
  virtual bool fresh_is_zero() const = 0;

  // `iov` and its buffers stay until the task is done. What lies beyond the end reads as zeros.
  virtual Task<Result<void>> readv(std::uint64_t offset, IoVec iov) = 0;
  virtual Task<Result<void>> writev(std::uint64_t offset, IoVec iov) = 0;
  // Afterwards the range reads as zeros and still has its space where the storage can tell.
  virtual Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length) = 0;
  // Gives the range's space back. True: it reads as zeros now. False: the storage cannot do it, and
  // the bytes are as they were.
  virtual Task<Result<bool>> punch(std::uint64_t offset, std::uint64_t length) = 0;
  // Everything that ended before this call survives a crash once the task is done.
  virtual Task<Result<void>> sync() = 0;
  // A block device keeps its size and its bytes: only a size it does not have fails.
  virtual Task<Result<void>> truncate(std::uint64_t size) = 0;
  // Reserves space for the range, which reads as before (zeros where it was beyond the end).
  virtual Task<Result<void>> allocate(std::uint64_t offset, std::uint64_t length) = 0;

  // `offset` < size(). May say data where there is a hole.
  virtual Result<Extent> extent_at(std::uint64_t offset) = 0;
  // Bytes of space in use; 0 where unknown.
  virtual std::uint64_t allocated_size() const = 0;
};

}  // namespace vmm::disk
