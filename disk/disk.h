// SPDX-License-Identifier: Apache-2.0
// Disk: what a block device sees of an image, whatever its format. open_disk() chooses the format.
//
// A disk belongs to one EventLoop: every member is called on its thread, and any number of requests
// may be under way at once. Overlapping requests are the caller's affair in the way they are on
// real hardware: each byte ends up as one of the writes left it. What a flush() that began after a
// write completed has covered survives a crash.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/core/result.h"
#include "vmm/io/iovec.h"
#include "vmm/io/task.h"

namespace vmm::disk {

enum class ZeroMode {
  kMayUnmap,       // the range may lose its storage (virtio 1.2, 5.2.6: unmap)
  kKeepAllocated,  // it reads as zeros, and later writes to it need no new space where the format
                   // can promise that
};

class Disk {
 public:
  virtual ~Disk() = default;

  virtual std::uint64_t size() const = 0;  // bytes, as the guest sees it
  virtual bool read_only() const = 0;
  virtual const char* format() const = 0;  // "raw", "qcow", "qcow2"
  // What is cheap to write at once, in bytes: a cluster, or a block of the file. A power of two.
  virtual std::uint32_t optimal_io_size() const = 0;

  // Bytes [offset, offset + length) must lie inside size(): kOutOfRange otherwise. `iov` and its
  // buffers stay until the task is done. Any alignment is served; 512 bytes and more is fast.
  virtual Task<Result<void>> readv(std::uint64_t offset, IoVec iov) = 0;
  // On a read-only disk the four that change it fail with kPermission.
  virtual Task<Result<void>> writev(std::uint64_t offset, IoVec iov) = 0;
  virtual Task<Result<void>> discard(std::uint64_t offset, std::uint64_t length) = 0;
  virtual Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                          ZeroMode mode) = 0;
  // Succeeds on a read-only disk, and does nothing.
  virtual Task<Result<void>> flush() = 0;

  // Flushes, records a clean shutdown where the format has a place for it, and lets go of locks.
  // Nothing may be under way, and nothing but the destructor may follow. Without it the image is as
  // after a crash.
  virtual Task<Result<void>> close() = 0;
};

}  // namespace vmm::disk
