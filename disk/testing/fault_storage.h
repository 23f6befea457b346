// SPDX-License-Identifier: Apache-2.0
// FaultStorage: passes everything on to another Storage, remembers what was done and when, and
// fails what a test wants to see fail.
//
// The recording is what crash states are made from: an operation that ended before a successful
// sync began survives a crash after that sync's end; every other one that began may have happened
// in full, in part or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "disk/storage.h"
#include "vmm/io/event_loop.h"

namespace vmm::disk {

struct StorageOp {
  enum class Kind : std::uint8_t { kRead, kWrite, kZero, kPunch, kSync, kTruncate, kAllocate };

  Kind kind = Kind::kRead;
  unsigned file = 0;             // which of the storages that share the recording
  std::uint64_t offset = 0;      // bytes
  std::uint64_t length = 0;      // bytes; kTruncate: the new size
  std::vector<std::byte> bytes;  // kWrite: what was to be written
  // Moments of the recording's clock.
  std::uint64_t began = 0;
  std::uint64_t ended = kNever;
  bool failed = false;
  std::uint64_t stored = 0;  // kWrite: bytes that reached the storage below, from the first on

  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  bool changes() const { return kind != Kind::kRead && kind != Kind::kSync; }
};
const char* name_of(StorageOp::Kind kind);

struct Recording {
  std::vector<StorageOp> ops;
  // Counts what happens, here and in whoever else uses it: no two events at the same moment.
  std::uint64_t clock = 0;
  std::uint64_t tick() { return ++clock; }
};

struct Fault {
  enum class Kind : std::uint8_t {
    kIoError,     // EIO, nothing happened
    kNoSpace,     // ENOSPC, nothing happened
    kShortWrite,  // EIO after half of the sectors; other operations: as kIoError
  };

  Kind kind = Kind::kIoError;
  // By its place in the recording, by what it is or where it goes.
  std::function<bool(std::uint64_t index, const StorageOp& op)> hits;
  bool once = true;  // else every operation that `hits`, until the fault is lifted

  std::vector<std::uint64_t> victims;  // indices of the operations that failed
};
const char* name_of(Fault::Kind kind);

class FaultStorage : public Storage {
 public:
  // `fault` may be null, and may change while the storage is in use. `file`: see StorageOp.
  FaultStorage(EventLoop& loop, std::unique_ptr<Storage> below,
               std::shared_ptr<Recording> recording, std::shared_ptr<Fault> fault = nullptr,
               unsigned file = 0)
      : file_(file),
        loop_(loop),
        below_(std::move(below)),
        recording_(std::move(recording)),
        fault_(std::move(fault)) {}

  std::uint64_t size() const override { return below_->size(); }
  bool read_only() const override { return below_->read_only(); }
  std::uint32_t alignment() const override { return below_->alignment(); }
  bool fresh_is_zero() const override { return below_->fresh_is_zero(); }
  Task<Result<void>> readv(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> writev(std::uint64_t offset, IoVec iov) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<bool>> punch(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<void>> sync() override;
  Task<Result<void>> truncate(std::uint64_t size) override;
  Task<Result<void>> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<Extent> extent_at(std::uint64_t offset) override { return below_->extent_at(offset); }
  std::uint64_t allocated_size() const override { return below_->allocated_size(); }

 private:
  std::uint64_t begin(StorageOp::Kind kind, std::uint64_t offset, std::uint64_t length);
  void end(std::uint64_t index, bool failed);
  bool is_victim(std::uint64_t index);
  Error error(std::uint64_t index) const;
  Task<Result<void>> fail_write(std::uint64_t index, IoVec iov);
  Task<Result<void>> finish(std::uint64_t index, Task<Result<void>> task);
  // A failure, a turn later.
  Task<Result<void>> fail_op(std::uint64_t index);

  const unsigned file_;
  EventLoop& loop_;
  std::unique_ptr<Storage> below_;
  std::shared_ptr<Recording> recording_;
  std::shared_ptr<Fault> fault_;
};

}  // namespace vmm::disk
