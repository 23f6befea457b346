// SPDX-License-Identifier: Apache-2.0
#include "disk/testing/fault_storage.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace vmm::disk {
namespace {

constexpr std::uint64_t kSector = 512;  // what a disk stores as a whole or not at all

}  // namespace

const char* name_of(StorageOp::Kind kind) {
  switch (kind) {
    case StorageOp::Kind::kRead:
      return "read";
    case StorageOp::Kind::kWrite:
      return "write";
    case StorageOp::Kind::kZero:
      return "write_zeroes";
    case StorageOp::Kind::kPunch:
      return "punch";
    case StorageOp::Kind::kSync:
      return "sync";
    case StorageOp::Kind::kTruncate:
      return "truncate";
    case StorageOp::Kind::kAllocate:
      return "allocate";
  }
  return "?";
}

const char* name_of(Fault::Kind kind) {
  switch (kind) {
    case Fault::Kind::kIoError:
      return "eio";
    case Fault::Kind::kNoSpace:
      return "enospc";
    case Fault::Kind::kShortWrite:
      return "short";
  }
  return "?";
}

std::uint64_t FaultStorage::begin(StorageOp::Kind kind, std::uint64_t offset,
                                  std::uint64_t length) {
  StorageOp op;
  op.kind = kind;
  op.file = file_;
  op.offset = offset;
  op.length = length;
  op.began = recording_->tick();
  recording_->ops.push_back(std::move(op));
  return recording_->ops.size() - 1;
}

void FaultStorage::end(std::uint64_t index, bool failed) {
  StorageOp& op = recording_->ops[index];
  op.ended = recording_->tick();
  op.failed = failed;
  if (!failed) op.stored = op.length;
}

bool FaultStorage::is_victim(std::uint64_t index) {
  if (!fault_ || !fault_->hits || (fault_->once && !fault_->victims.empty())) return false;
  if (!fault_->hits(index, recording_->ops[index])) return false;
  fault_->victims.push_back(index);
  return true;
}

Error FaultStorage::error(std::uint64_t index) const {
  const StorageOp& op = recording_->ops[index];
  return Error::from_errno(
      fault_->kind == Fault::Kind::kNoSpace ? ENOSPC : EIO,
      fmt::format("{} of {} bytes at {:#x}", name_of(op.kind), op.length, op.offset));
}

Task<Result<void>> FaultStorage::finish(std::uint64_t index, Task<Result<void>> task) {
  Result<void> done = co_await task;
  end(index, !done);
  co_return done;
}

Task<Result<void>> FaultStorage::fail_op(std::uint64_t index) {
  Error why = error(index);
  co_await loop_.yield();
  end(index, true);
  co_return Unexpected(std::move(why));
}

Task<Result<void>> FaultStorage::fail_write(std::uint64_t index, IoVec iov) {
  if (fault_->kind == Fault::Kind::kShortWrite) {
    Error why = error(index);
    const StorageOp& op = recording_->ops[index];
    const std::uint64_t stop = (op.offset + op.length / 2) / kSector * kSector;
    const std::uint64_t half = stop > op.offset ? stop - op.offset : 0;
    std::vector<iovec> part;
    append_slice(iov, 0, half, part);
    recording_->ops[index].stored = half;
    Result<void> stored = co_await below_->writev(recording_->ops[index].offset, part);
    end(index, true);
    if (!stored) co_return stored;
    co_return Unexpected(std::move(why));
  }
  co_return co_await fail_op(index);
}

Task<Result<void>> FaultStorage::readv(std::uint64_t offset, IoVec iov) {
  const std::uint64_t index = begin(StorageOp::Kind::kRead, offset, total_size(iov));
  if (is_victim(index)) return fail_op(index);
  return finish(index, below_->readv(offset, iov));
}

Task<Result<void>> FaultStorage::writev(std::uint64_t offset, IoVec iov) {
  const std::uint64_t index = begin(StorageOp::Kind::kWrite, offset, total_size(iov));
  std::vector<std::byte>& bytes = recording_->ops[index].bytes;
  bytes.reserve(total_size(iov));
  for (const iovec& part : iov) {
    const auto* from = static_cast<const std::byte*>(part.iov_base);
    bytes.insert(bytes.end(), from, from + part.iov_len);
  }
  if (is_victim(index)) return fail_write(index, iov);
  return finish(index, below_->writev(offset, iov));
}

Task<Result<void>> FaultStorage::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t index = begin(StorageOp::Kind::kZero, offset, length);
  if (is_victim(index)) return fail_op(index);
  return finish(index, below_->write_zeroes(offset, length));
}

Task<Result<bool>> FaultStorage::punch(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t index = begin(StorageOp::Kind::kPunch, offset, length);
  if (is_victim(index)) {
    Result<void> failed = co_await fail_op(index);
    co_return Unexpected(std::move(failed).error());
  }
  Result<bool> done = co_await below_->punch(offset, length);
  end(index, !done || !*done);
  co_return done;
}

Task<Result<void>> FaultStorage::sync() {
  const std::uint64_t index = begin(StorageOp::Kind::kSync, 0, 0);
  if (is_victim(index)) return fail_op(index);
  return finish(index, below_->sync());
}

Task<Result<void>> FaultStorage::truncate(std::uint64_t size) {
  const std::uint64_t index = begin(StorageOp::Kind::kTruncate, 0, size);
  if (is_victim(index)) return fail_op(index);
  return finish(index, below_->truncate(size));
}

Task<Result<void>> FaultStorage::allocate(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t index = begin(StorageOp::Kind::kAllocate, offset, length);
  if (is_victim(index)) return fail_op(index);
  return finish(index, below_->allocate(offset, length));
}

}  // namespace vmm::disk
