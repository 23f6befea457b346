// SPDX-License-Identifier: Apache-2.0
#include "disk/file_storage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "disk/aligned_buffer.h"
#include "disk/image_lock.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kBounceSize = 1 << 20;  // bytes; larger requests are bounced in pieces
constexpr std::uint64_t kMaxBounces = 4 << 20;  // bytes of all that are bounced at the same time
constexpr std::uint64_t kMaxReadAtOnce = 64 << 10;  // bytes
constexpr unsigned kMaxReadsAtOnce = 4;             // of a turn

Unexpected<Error> io_error(const char* what, std::uint64_t offset, std::uint64_t length,
                           std::int64_t result) {
  return fail_errno(static_cast<int>(-result),
                    fmt::format("{} of {} bytes at {:#x}", what, length, offset));
}

bool is_unsupported(std::int64_t result) {
  return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENOTTY || result == -ENODEV;
}

std::uint32_t sector_size(int device) {
  int size = 0;
  if (::ioctl(device, BLKSSZGET, &size) == 0) return static_cast<std::uint32_t>(size);
  return 4096;
}

// What O_DIRECT asks of offsets and addresses. A wrong guess would fail every request, so where the
// kernel does not say (before 6.1), it is tried.
std::uint32_t direct_alignment(int fd, bool block_device) {
  if (block_device) return sector_size(fd);
#ifdef STATX_DIOALIGN
  struct statx info {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
      (info.stx_mask & STATX_DIOALIGN) != 0 && info.stx_dio_offset_align != 0) {
    return std::max(info.stx_dio_offset_align, info.stx_dio_mem_align);
  }
#endif
  AlignedBuffer probe(512);
  if (::pread(fd, probe.data(), 512, 512) >= 0) return 512;
  return 4096;
}

std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) {
  return value & ~(unit - 1);
}
std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return round_down(value + unit - 1, unit);
}

}  // namespace

Result<std::unique_ptr<FileStorage>> FileStorage::open(EventLoop& loop, const std::string& path,
                                                       const FileOptions& options) {
  // A FIFO must not make the open wait for its other end.
  int flags = O_CLOEXEC | O_NONBLOCK | (options.read_only ? O_RDONLY : O_RDWR);
  if (options.direct) flags |= O_DIRECT;
  if (options.create) flags |= O_CREAT;
  if (options.no_follow) flags |= O_NOFOLLOW;
  UniqueFd fd;
  if (options.opener) {
    VMM_TRY(fd, options.opener(path, flags));
  } else {
    fd = UniqueFd(::open(path.c_str(), flags, 0644));
  }
  if (!fd) {
    if (errno == EINVAL && options.direct) {
      return fail(ErrorKind::kUnsupported, "the file system does not offer O_DIRECT; leave it off");
    }
    if (errno == ELOOP && options.no_follow) {
      return fail(ErrorKind::kPermission, "is a symbolic link, which nofollow forbids");
    }
    if (errno == EISDIR) return fail(ErrorKind::kInvalid, "is a directory, not a disk image");
    return fail_errno(errno, options.read_only ? "open" : "open for writing");
  }
  FileOptions kept = options;
  kept.opener = nullptr;  // and what it holds
  std::unique_ptr<FileStorage> self(new FileStorage(loop, std::move(fd), kept));
  VMM_CHECK(self->init(options.lock && !options.opener));
  return self;
}

Result<std::unique_ptr<FileStorage>> FileStorage::create_temporary(EventLoop& loop) {
  const char* directory = ::getenv("TMPDIR");
  if (directory == nullptr || directory[0] != '/') directory = "/var/tmp";
  UniqueFd fd(::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) {
    std::string name = fmt::format("{}/vmm-XXXXXX", directory);  // no O_TMPFILE there
    fd = UniqueFd(::mkostemp(name.data(), O_CLOEXEC));
    if (!fd) return fail_errno(errno, fmt::format("make a temporary file in {}", directory));
    ::unlink(name.c_str());
  }
  FileOptions options;
  options.lock = false;
  options.no_sync = true;
  std::unique_ptr<FileStorage> self(new FileStorage(loop, std::move(fd), options));
  VMM_CHECK(self->init(false));
  return self;
}

FileStorage::FileStorage(EventLoop& loop, UniqueFd fd, const FileOptions& options)
    : loop_(loop),
      fd_(std::move(fd)),
      options_(options),
      merger_(loop, fd_.get(), /*cached=*/!options.direct),
      order_(loop),
      bounces_(loop, kMaxBounces) {
}

FileStorage::~FileStorage() {
  if (options_.lock) unlock_image(fd_.get());
}

Result<void> FileStorage::init(bool lock) {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return fail_errno(errno, "stat");
  if (S_ISDIR(info.st_mode)) return fail(ErrorKind::kInvalid, "is a directory, not a disk image");
  block_device_ = S_ISBLK(info.st_mode);
  if (!block_device_ && !S_ISREG(info.st_mode)) {
    return fail(ErrorKind::kInvalid, "is neither a regular file nor a block device");
  }
  if (lock) {
    VMM_CHECK(lock_image(fd_.get(), options_.read_only ? LockMode::kReader : LockMode::kWriter));
  }
  if (options_.create && !block_device_) {
    if (::ftruncate(fd_.get(), 0) != 0) return fail_errno(errno, "truncate");
    info.st_size = 0;
  }
  size_ = static_cast<std::uint64_t>(info.st_size);
  if (block_device_ && ::ioctl(fd_.get(), BLKGETSIZE64, &size_) != 0) {
    return fail_errno(errno, "ask for the device's size");
  }
  if (block_device_) block_ = sector_size(fd_.get());
  if (options_.direct) alignment_ = direct_alignment(fd_.get(), block_device_);
  alignment_ = std::max(alignment_, options_.block_size);
  return {};
}

bool FileStorage::is_aligned(std::uint64_t offset, IoVec iov) const {
  if (alignment_ == 1) return true;
  std::uint64_t bits = offset;
  for (const iovec& part : iov) {
    bits |= reinterpret_cast<std::uintptr_t>(part.iov_base) | part.iov_len;
  }
  return (bits & (alignment_ - 1)) == 0;
}

// What is in the page cache is copied by this thread: for a few bytes a round through the ring
// costs as much as the copy. Many reads of one turn share their round, and a large one would keep
// other requests from starting meanwhile.
bool FileStorage::read_at_once(std::uint64_t offset, IoVec iov, std::uint64_t length) {
  if (options_.direct || !can_read_at_once_ || length > kMaxReadAtOnce) return false;
  if (at_once_turn_ != loop_.nr_turns()) {
    at_once_turn_ = loop_.nr_turns();
    nr_at_once_ = 0;
  }
  if (nr_at_once_ == kMaxReadsAtOnce) return false;
  ++nr_at_once_;
  const ssize_t got = ::preadv2(fd_.get(), iov.data(), static_cast<int>(iov.size()),
                                static_cast<off_t>(offset), RWF_NOWAIT);
  // Not every file system can say that it would have to wait.
  if (got < 0 && errno != EAGAIN && errno != EINTR) can_read_at_once_ = false;
  return got == static_cast<ssize_t>(length);
}

Task<Result<void>> FileStorage::readv(std::uint64_t offset, IoVec iov) {
  if (!is_aligned(offset, iov)) co_return co_await bounced_read(offset, iov);
  if (iov.size() > IOV_MAX) co_return co_await read_rest(offset, iov, 0);
  const std::uint64_t length = total_size(iov);
  if (read_at_once(offset, iov, length)) co_return Result<void>();
  std::int64_t result = co_await loop_.readv(fd_.get(), iov, offset, options_.direct);
  if (result == static_cast<std::int64_t>(length)) co_return Result<void>();
  if (result < 0 && result != -EINTR && result != -EAGAIN) {
    co_return io_error("read", offset, length, result);
  }
  co_return co_await read_rest(offset, iov, result < 0 ? 0 : static_cast<std::uint64_t>(result));
}

// Goes on after `done` bytes, in as many operations as it takes.
Task<Result<void>> FileStorage::read_rest(std::uint64_t offset, IoVec iov, std::uint64_t done) {
  const std::uint64_t length = total_size(iov);
  std::vector<iovec> rest;
  while (done < length) {
    rest.clear();
    append_slice(iov, done, length - done, rest);
    IoVec next(rest.data(), std::min<std::size_t>(rest.size(), IOV_MAX));
    std::int64_t result = co_await loop_.readv(fd_.get(), next, offset + done);
    if (result == -EINTR || result == -EAGAIN) continue;
    if (result < 0) co_return io_error("read", offset, length, result);
    if (result == 0) {  // beyond the end
      fill(iov, done, length - done, std::byte{0});
      break;
    }
    done += static_cast<std::uint64_t>(result);
    // A direct read that ends inside a block has met the end of the file.
    if (alignment_ > 1 && done % alignment_ != 0) {
      fill(iov, done, length - done, std::byte{0});
      break;
    }
  }
  co_return Result<void>();
}

Task<Result<void>> FileStorage::writev(std::uint64_t offset, IoVec iov) {
  if (!is_aligned(offset, iov)) co_return co_await bounced_write(offset, iov);
  const std::uint64_t length = total_size(iov);
  std::optional<BlockOrder::Change> change;
  if (alignment_ > 1) {
    change.emplace(order_, offset, offset + length, BlockOrder::Kind::kWhole);
    if (change->must_wait()) co_await change->turn();
  }
  if (iov.size() > IOV_MAX) co_return co_await write_rest(offset, iov, 0);
  std::int64_t result = co_await merger_.writev(iov, offset);
  if (result == static_cast<std::int64_t>(length)) {
    grew_to(offset + length);
    co_return Result<void>();
  }
  if (result < 0 && result != -EINTR && result != -EAGAIN) {
    co_return io_error("write", offset, length, result);
  }
  co_return co_await write_rest(offset, iov, result < 0 ? 0 : static_cast<std::uint64_t>(result));
}

Task<Result<void>> FileStorage::write_rest(std::uint64_t offset, IoVec iov, std::uint64_t done) {
  const std::uint64_t length = total_size(iov);
  std::vector<iovec> rest;
  while (done < length) {
    rest.clear();
    append_slice(iov, done, length - done, rest);
    IoVec next(rest.data(), std::min<std::size_t>(rest.size(), IOV_MAX));
    std::int64_t result = co_await loop_.writev(fd_.get(), next, offset + done);
    if (result == -EINTR || result == -EAGAIN) continue;
    // A write that makes no progress has met a full disk that does not say so.
    if (result == 0) result = -ENOSPC;
    if (result < 0) co_return io_error("write", offset, length, result);
    done += static_cast<std::uint64_t>(result);
    grew_to(offset + done);
    // What is left of a direct write that stopped inside a block starts over at that block.
    if (done < length && alignment_ > 1) done = round_down(done, alignment_);
  }
  co_return Result<void>();
}

Task<Result<void>> FileStorage::bounced_read(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t start = round_down(offset + done, alignment_);
    const std::uint64_t end = std::min(round_up(offset + length, alignment_), start + kBounceSize);
    const Budget::Share share = co_await bounces_.take(end - start);
    AlignedBuffer bounce(end - start);
    iovec whole = bounce.as_iovec();
    VMM_CO_CHECK(co_await read_rest(start, IoVec(&whole, 1), 0));
    const std::uint64_t part = std::min(end - (offset + done), length - done);
    copy_to_iovec(bounce.bytes().subspan(offset + done - start, part), iov, done);
    done += part;
  }
  co_return Result<void>();
}

// Nothing else may change a block between its being read and written back.
Task<Result<void>> FileStorage::bounced_write(std::uint64_t offset, IoVec iov) {
  const std::uint64_t length = total_size(iov);
  const std::uint64_t first = round_down(offset, alignment_);
  const std::uint64_t last = round_up(offset + length, alignment_);
  const bool whole = first == offset && last == offset + length;
  BlockOrder::Change change(order_, first, last,
                            whole ? BlockOrder::Kind::kWhole : BlockOrder::Kind::kPart);
  if (change.must_wait()) co_await change.turn();
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t from = offset + done;
    const std::uint64_t end = std::min(last, round_down(from, alignment_) + kBounceSize);
    VMM_CO_CHECK(co_await bounce_out(from, end, iov, done));
    done += std::min(end - from, length - done);
  }
  co_return Result<void>();
}

// Writes what `iov` has from `done` on to the bytes from `from` on, up to `end`, a block's end.
// Blocks that are written in part are read first.
Task<Result<void>> FileStorage::bounce_out(std::uint64_t from, std::uint64_t end, IoVec iov,
                                           std::uint64_t done) {
  const std::uint64_t start = round_down(from, alignment_);
  const std::uint64_t part = std::min(end - from, total_size(iov) - done);
  const Budget::Share share = co_await bounces_.take(end - start);
  AlignedBuffer bounce(end - start);
  if (from != start || from + part != end) {
    iovec first{bounce.data(), alignment_};
    VMM_CO_CHECK(co_await read_rest(start, IoVec(&first, 1), 0));
    if (end - start > alignment_) {
      iovec last{bounce.data() + bounce.size() - alignment_, alignment_};
      VMM_CO_CHECK(co_await read_rest(end - alignment_, IoVec(&last, 1), 0));
    }
  }
  copy_from_iovec(iov, done, bounce.bytes().subspan(from - start, part));
  iovec whole = bounce.as_iovec();
  co_return co_await write_rest(start, IoVec(&whole, 1), 0);
}

// A device zeroes whole sectors, a file any bytes: [first_block(), end_of_blocks()) is what
// fallocate() may be asked for, empty where no whole sector is in the range.
std::uint64_t FileStorage::first_block(std::uint64_t offset) const {
  return round_up(offset, block_);
}
std::uint64_t FileStorage::end_of_blocks(std::uint64_t end) const {
  return round_down(end, block_);
}

Task<std::int64_t> FileStorage::fallocate_blocks(int mode, std::uint64_t offset,
                                                 std::uint64_t length) {
  const std::uint64_t first = first_block(offset);
  const std::uint64_t end = end_of_blocks(offset + length);
  if (first >= end) co_return -EINVAL;
  std::optional<BlockOrder::Change> change;
  if (alignment_ > 1) {
    change.emplace(order_, first, end, BlockOrder::Kind::kWhole);
    if (change->must_wait()) co_await change->turn();
  }
  std::int64_t result = 0;
  do {
    result = co_await loop_.fallocate(fd_.get(), mode, first, end - first);
  } while (result == -EINTR);
  co_return result;
}

// What fallocate_blocks() leaves of the range.
Task<Result<void>> FileStorage::write_zero_edges(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  if (first_block(offset) > offset) {
    VMM_CO_CHECK(co_await write_zero_bytes(offset, first_block(offset) - offset));
  }
  if (end_of_blocks(end) < end) {
    VMM_CO_CHECK(co_await write_zero_bytes(end_of_blocks(end), end - end_of_blocks(end)));
  }
  co_return Result<void>();
}

Task<Result<void>> FileStorage::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) co_return Result<void>();
  if (can_zero_range_) {
    const std::int64_t result = co_await fallocate_blocks(FALLOC_FL_ZERO_RANGE, offset, length);
    if (result >= 0) {
      VMM_CO_CHECK(co_await write_zero_edges(offset, length));
      grew_to(offset + length);
      co_return Result<void>();
    }
    // EINVAL: less than a sector of a device, or a range that it does not have as a whole.
    if (!is_unsupported(result) && result != -EINVAL) {
      co_return io_error("zeroing", offset, length, result);
    }
    if (is_unsupported(result)) can_zero_range_ = false;
  }
  co_return co_await write_zero_bytes(offset, length);
}

Task<Result<void>> FileStorage::write_zero_bytes(std::uint64_t offset, std::uint64_t length) {
  AlignedBuffer zeros = AlignedBuffer::zeroed(
      std::max<std::uint64_t>(std::min(round_up(length, 4096), kBounceSize), 4096));
  while (length > 0) {
    iovec part{zeros.data(), std::min<std::uint64_t>(length, zeros.size())};
    VMM_CO_CHECK(co_await writev(offset, IoVec(&part, 1)));
    offset += part.iov_len;
    length -= part.iov_len;
  }
  co_return Result<void>();
}

Task<Result<bool>> FileStorage::punch(std::uint64_t offset, std::uint64_t length) {
  if (!can_punch_) co_return false;
  if (offset >= size_ || length == 0) co_return true;
  if (block_device_) length = std::min(length, size_ - offset);  // it refuses what lies behind
  const std::int64_t result =
      co_await fallocate_blocks(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (result >= 0) {
    VMM_CO_CHECK(co_await write_zero_edges(offset, length));
    co_return true;
  }
  if (is_unsupported(result)) can_punch_ = false;
  if (is_unsupported(result) || result == -EINVAL) co_return false;
  co_return io_error("punching a hole", offset, length, result);
}

// After a failed fdatasync the kernel may call the pages clean that it could not write, and the
// next fdatasync would say that all is well. So what was not synced then is never called durable
// again.
Task<Result<void>> FileStorage::sync() {
  if (options_.no_sync) co_return Result<void>();
  if (sync_failure_) co_return Unexpected(*sync_failure_);
  std::int64_t result = 0;
  do {
    result = co_await loop_.fdatasync(fd_.get());
  } while (result == -EINTR);
  if (result >= 0 && !sync_failure_) co_return Result<void>();
  if (!sync_failure_) {
    sync_failure_ = Error::from_errno(static_cast<int>(-result),
                                      "fdatasync (what was written may be lost; flushes fail until "
                                      "the image is opened again)");
    // Here not even a want of space goes away by itself: nobody should wait for that.
    if (sync_failure_->kind() == ErrorKind::kNoSpace) {
      sync_failure_ = Error(ErrorKind::kIo, sync_failure_->message());
    }
  }
  co_return Unexpected(*sync_failure_);
}

Task<Result<void>> FileStorage::truncate(std::uint64_t size) {
  if (block_device_) {
    if (size <= size_) co_return Result<void>();
    co_return fail(ErrorKind::kNoSpace, "a block device cannot grow");
  }
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
    co_return fail_errno(errno, fmt::format("set the size to {} bytes", size));
  }
  size_ = size;
  co_return Result<void>();
}

Task<Result<void>> FileStorage::allocate(std::uint64_t offset, std::uint64_t length) {
  if (block_device_ || length == 0) co_return Result<void>();
  std::int64_t result = 0;
  do {
    result = co_await loop_.fallocate(fd_.get(), 0, offset, length);
  } while (result == -EINTR);
  if (result < 0) co_return io_error("reserving", offset, length, result);
  grew_to(offset + length);
  co_return Result<void>();
}

Result<Storage::Extent> FileStorage::extent_at(std::uint64_t offset) {
  if (block_device_) return Extent{size_, true};
  off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) {
    if (errno == ENXIO) return Extent{size_, false};
    return Extent{size_, true};  // a file system that cannot tell
  }
  if (static_cast<std::uint64_t>(data) > offset) {
    return Extent{std::min(static_cast<std::uint64_t>(data), size_), false};
  }
  off_t hole = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_HOLE);
  if (hole < 0) return Extent{size_, true};
  return Extent{std::min(static_cast<std::uint64_t>(hole), size_), true};
}

std::uint64_t FileStorage::allocated_size() const {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return 0;
  return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

}  // namespace vmm::disk
