// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/blk.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "devices/virtio/config_space.h"
#include "vmm/core/byte_order.h"

namespace vmm::virtio {
namespace {

// virtio 1.2, 5.2.4.
struct Config {
  Le64 capacity;  // sectors
  Le32 size_max;
  Le32 seg_max;
  Le16 cylinders;
  std::uint8_t heads;
  std::uint8_t sectors;
  Le32 block_size;  // bytes
  std::uint8_t physical_block_exponent;
  std::uint8_t alignment_offset;
  Le16 min_io_size;  // blocks
  Le32 opt_io_size;  // blocks
  std::uint8_t write_back;
  std::uint8_t unused0;
  Le16 nr_queues;
  Le32 max_discard_sectors;
  Le32 max_discard_ranges;
  Le32 discard_alignment;  // sectors
  Le32 max_write_zeroes_sectors;
  Le32 max_write_zeroes_ranges;
  std::uint8_t write_zeroes_may_unmap;
  std::uint8_t unused1[3];
};
static_assert(sizeof(Config) == 60);
constexpr std::uint64_t kWriteBackOffset = offsetof(Config, write_back);

// Every guest file system works in pages, so that is what the host writes in.
constexpr std::uint8_t kPhysicalBlockExponent = 3;
// A guest that resets the device and writes again fails again.
constexpr unsigned kMaxTold = 10;
constexpr std::uint16_t kNrOverheadBuffers = 2;  // header and status

// What a guest can have us do at once, for which the disk needs memory of the host's, and what a
// reset has to wait for.
constexpr std::uint64_t kMaxInFlight = 64 << 20;  // bytes
// Larger requests are carried out in pieces of so many bytes; Linux sends up to 1 MiB.
constexpr std::uint64_t kPiece = 4 << 20;
constexpr std::uint64_t kRangePiece = 64 << 20;  // of DISCARD and WRITE_ZEROES, at multiples of it
// What an operation costs, however small: a discard changes no guest memory.
constexpr std::uint64_t kLeast = 16 << 10;
constexpr std::uint64_t kRangeCost = 8 << 20;

Unexpected<Error> given_up() {
  return fail(ErrorKind::kBusy, "the driver resets the device");
}

std::uint64_t cost_of(const BlkRequest& request) {
  return std::max(request.length, kLeast);
}

std::uint64_t offered(const disk::Disk& disk, const BlkOptions& options) {
  std::uint64_t features = kBlkSegMax | kBlkBlockSize | kBlkTopology | kBlkFlush;
  if (options.nr_queues > 1) features |= kBlkMultiQueue;
  if (disk.read_only()) return features | kBlkReadOnly;
  return features | kBlkConfigWce | kBlkDiscard | kBlkWriteZeroes;
}

}  // namespace

Blk::Blk(BlkOptions options, disk::Disk& disk, EventLoop& loop, const GuestMemory& memory,
         UniqueFd timer)
    : options_(std::move(options)),
      disk_(disk),
      features_(offered(disk, options_)),
      size_(disk.size() / kSectorSize * kSectorSize),
      loop_(loop),
      throttle_(loop, std::move(timer)),
      max_operations_(options_.limits.operations),
      max_bytes_(options_.limits.bytes),
      in_flight_(loop, kMaxInFlight),
      unheld_(loop),
      drained_(loop),
      maintenance_(loop),
      failed_(loop),
      server_(*this, options_.name, loop, memory) {
  assert(options_.nr_queues > 0 && std::has_single_bit(options_.queue_size));
  assert(options_.queue_size >= 4 && options_.queue_size <= Virtqueue::kMaxSize);
  throttle_.set_limits(options_.limits);
}

// A disk that comes later can be one that is only read. Drivers that start from then on are told;
// writes of one that has started before fail.
std::uint64_t Blk::features() const {
  return features_ | (disk_.read_only() ? kBlkReadOnly : 0);
}

void Blk::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  std::uint32_t cluster_sectors =
      std::max<std::uint32_t>(disk_.optimal_io_size() / kSectorSize, 1u << kPhysicalBlockExponent);
  Config config{};
  config.capacity = size_.load(std::memory_order_relaxed) / kSectorSize;
  config.seg_max = options_.queue_size - kNrOverheadBuffers;
  config.block_size = kSectorSize;
  config.physical_block_exponent = kPhysicalBlockExponent;
  config.min_io_size = 1u << kPhysicalBlockExponent;
  config.opt_io_size = cluster_sectors;
  config.write_back = write_back_.load(std::memory_order_relaxed) ? 1 : 0;
  config.nr_queues = options_.nr_queues;
  if ((features_ & kBlkDiscard) != 0) {
    config.max_discard_sectors = kBlkMaxRangeSectors;
    config.max_discard_ranges = kBlkMaxRanges;
    config.discard_alignment = cluster_sectors;
    config.max_write_zeroes_sectors = kBlkMaxRangeSectors;
    config.max_write_zeroes_ranges = kBlkMaxRanges;
    config.write_zeroes_may_unmap = 1;
  }
  read_config_of(config, offset, data);
}

void Blk::write_config(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset != kWriteBackOffset || data.size() != 1 || !write_back_settable_) return;
  write_back_.store(data[0] != std::byte{0}, std::memory_order_relaxed);
}

// Without FLUSH a driver has no way to ask for stability: every write must bring it
// (virtio 1.2, 5.2.5.2 and 5.2.6.2).
void Blk::set_driver_features(std::uint64_t features) {
  write_back_settable_ = (features & kBlkConfigWce) != 0;
  write_back_.store((features & kBlkFlush) != 0, std::memory_order_relaxed);
}

void Blk::on_activate(const Activation& activation) {
  limits_ = {.nr_sectors = size_ / kSectorSize,
             .read_only = disk_.read_only(),
             .features = activation.features};
  transport_ = activation.transport;
  throttle_.close();
}

// The only place that answers a request.
Task<void> Blk::serve_chain(QueueServer::Queue& queue, Chain chain) {
  const Clock::time_point taken = Clock::now();
  BlkRequest request = BlkRequest::parse(chain.readable(), chain.writable(), limits_);
  if (request.status == nullptr) {
    server_.complete(queue, chain, 0);
    server_.give_up(queue, Error(ErrorKind::kInvalid, "a request without room for its status"));
    co_return;
  }
  BlkStatus answer = request.verdict;
  if (answer == BlkStatus::kOk) {
    const std::uint64_t made_for = nr_replaced_;
    while (held_) co_await unheld_.wait();
    answer = BlkStatus::kIoError;
    if (made_for == nr_replaced_) answer = co_await execute_in_turn(request);
  }
  count(request, answer, taken);
  *request.status = static_cast<std::byte>(answer);
  server_.complete(queue, chain, request.nr_written(answer));
}

// From its first line on the request is the present disk's, which maintain() keeps in its place.
Task<BlkStatus> Blk::execute_in_turn(const BlkRequest& request) {
  ++nr_executing_;
  if (throttle_.limited() && request.type != BlkType::kGetId) {
    const bool moves_data = request.type == BlkType::kIn || request.type == BlkType::kOut;
    co_await throttle_.pass(moves_data ? request.length : 0);
  }
  const BlkStatus answer = co_await execute(request);
  --nr_executing_;
  if (held_) drained_.notify_all();
  co_return answer;
}

// A driver that resets waits for its requests, but not for their turn.
void Blk::on_stop() {
  failed_.notify_all();
  throttle_.open();
}

void Blk::set_rate_limits(RateLimits limits) {
  max_operations_.store(limits.operations, std::memory_order_relaxed);
  max_bytes_.store(limits.bytes, std::memory_order_relaxed);
  loop_.post([this, limits] { throttle_.set_limits(limits); });
}

RateLimits Blk::rate_limits() const {
  return {max_operations_.load(std::memory_order_relaxed),
          max_bytes_.load(std::memory_order_relaxed)};
}

Task<Result<void>> Blk::maintain(std::function<Task<Result<void>>()> work) {
  const AsyncMutex::Lock lock = co_await maintenance_.lock();
  // What the driver has asked for by now it has asked of the disk as it is.
  server_.take_available();
  held_ = true;
  throttle_.open();
  // Who waits for retry() is not waited for: that may be for ever.
  while (nr_executing_ > nr_waiting_.load()) co_await drained_.wait();
  if (!server_.stopping()) throttle_.close();
  Result<void> done;
  if (waiting()) {
    done = fail(ErrorKind::kBusy, "a change that failed waits to be tried again");
  } else {
    done = co_await work();
  }
  limits_.read_only = disk_.read_only();
  const std::uint64_t size = disk_.size() / kSectorSize * kSectorSize;
  if (size != size_) {
    size_ = size;
    limits_.nr_sectors = size / kSectorSize;
    if (transport_ != nullptr) transport_->config_changed();
  }
  held_ = false;
  unheld_.notify_all();
  co_return done;
}

// Before the driver learns of the answer: who saw that finds it counted.
void Blk::count(const BlkRequest& request, BlkStatus answer, Clock::time_point taken) {
  auto add = [](std::atomic<std::uint64_t>& counter, std::uint64_t value) {
    counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  };
  if (answer != BlkStatus::kOk) return add(counters_.failures, 1);
  auto add_time = [&](std::atomic<std::uint64_t>& counter) {
    const std::chrono::nanoseconds spent = Clock::now() - taken;
    add(counter, static_cast<std::uint64_t>(spent.count()));
  };
  switch (request.type) {
    case BlkType::kIn:
      add(counters_.reads, 1);
      add_time(counters_.read_ns);
      return add(counters_.read_bytes, request.length);
    case BlkType::kOut:
      add(counters_.writes, 1);
      add_time(counters_.write_ns);
      return add(counters_.written_bytes, request.length);
    case BlkType::kFlush:
      add_time(counters_.flush_ns);
      return add(counters_.flushes, 1);
    case BlkType::kDiscard:
    case BlkType::kWriteZeroes:
      return add(counters_.discards, 1);
    case BlkType::kGetId:
      return;
  }
}

BlkStats Blk::stats() const {
  auto get = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  return {.reads = get(counters_.reads),
          .read_bytes = get(counters_.read_bytes),
          .writes = get(counters_.writes),
          .written_bytes = get(counters_.written_bytes),
          .flushes = get(counters_.flushes),
          .discards = get(counters_.discards),
          .failures = get(counters_.failures),
          .read_ns = get(counters_.read_ns),
          .write_ns = get(counters_.write_ns),
          .flush_ns = get(counters_.flush_ns)};
}

Task<BlkStatus> Blk::execute(const BlkRequest& request) {
  switch (request.type) {
    case BlkType::kIn: {
      if (request.length == 0) co_return BlkStatus::kOk;
      Result<void> done;
      if (starts_at_once(request)) {
        const Budget::Share share = co_await in_flight_.take(cost_of(request));
        done = co_await disk_.readv(request.offset, request.data);
      } else {
        done = co_await transfer(request);
      }
      co_return judge(done, "read", request.offset, request.length);
    }
    case BlkType::kOut: {
      if (request.length == 0) co_return BlkStatus::kOk;
      for (;;) {
        Result<void> done = co_await write(request);
        if (done) co_return BlkStatus::kOk;
        const bool again =
            co_await wait_for_retry(done.error(), "write", request.offset, request.length);
        if (!again) co_return judge(done, "write", request.offset, request.length);
      }
    }
    case BlkType::kFlush:
      co_return co_await flush();
    case BlkType::kGetId:
      co_return get_id(request);
    case BlkType::kDiscard:
    case BlkType::kWriteZeroes:
      co_return co_await execute_ranges(request);
  }
  co_return BlkStatus::kUnsupported;
}

// Of kIn and kOut: most need no coroutine of their own for this.
bool Blk::starts_at_once(const BlkRequest& request) const {
  return request.length <= kPiece && in_flight_.at_once(cost_of(request));
}

// Of kIn and kOut. A driver that resets has given up what waits here.
Task<Result<void>> Blk::transfer(const BlkRequest& request) {
  if (request.length > kPiece) co_return co_await transfer_pieces(request);
  const bool waits = !starts_at_once(request);
  const Budget::Share share = co_await in_flight_.take(cost_of(request));
  if (waits && server_.stopping()) co_return given_up();
  if (request.type == BlkType::kIn) co_return co_await disk_.readv(request.offset, request.data);
  co_return co_await disk_.writev(request.offset, request.data);
}

// A small buffer can be in a list a thousand times, so a request can be of any size.
Task<Result<void>> Blk::transfer_pieces(const BlkRequest& request) {
  IovecCursor cursor(request.data);
  std::vector<iovec> buffers;
  BlkRequest piece = request;
  for (std::uint64_t done = 0; done < request.length; done += kPiece) {
    if (server_.stopping()) co_return given_up();
    piece.offset = request.offset + done;
    piece.length = std::min(request.length - done, kPiece);
    buffers.clear();
    cursor.take(piece.length, buffers);
    piece.data = buffers;
    VMM_CO_CHECK(co_await transfer(piece));
  }
  co_return Result<void>();
}

Task<BlkStatus> Blk::execute_ranges(const BlkRequest& request) {
  const bool write_back = write_back_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < request.nr_ranges(); ++i) {
    BlkRange range = request.range(i, limits_);
    if (range.verdict != BlkStatus::kOk) co_return range.verdict;
    if (range.length == 0) continue;
    const char* what = request.type == BlkType::kDiscard ? "discard" : "write zeroes";
    bool again = true;
    while (again) {
      Result<void> done = co_await change_range(request.type, range);
      if (done) break;
      again = co_await wait_for_retry(done.error(), what, range.offset, range.length);
      if (!again) co_return judge(done, what, range.offset, range.length);
    }
  }
  if (write_back && write_back_.load(std::memory_order_relaxed)) co_return BlkStatus::kOk;
  co_return co_await flush();
}

Task<Result<void>> Blk::change_range(BlkType type, BlkRange range) {
  const std::uint64_t end = range.offset + range.length;
  for (std::uint64_t at = range.offset; at < end;) {
    const std::uint64_t length = std::min(end - at, kRangePiece - at % kRangePiece);
    VMM_CO_CHECK(co_await change_piece(type, at, length, range.unmap));
    at += length;
    if (at == end) break;
    co_await loop_.yield();
    if (server_.stopping()) co_return given_up();
  }
  co_return Result<void>();
}

Task<Result<void>> Blk::change_piece(BlkType type, std::uint64_t offset, std::uint64_t length,
                                     bool unmap) {
  const bool waits = !in_flight_.at_once(kRangeCost);
  const Budget::Share share = co_await in_flight_.take(kRangeCost);
  if (waits && server_.stopping()) co_return given_up();
  if (type == BlkType::kDiscard) co_return co_await disk_.discard(offset, length);
  const auto mode = unmap ? disk::ZeroMode::kMayUnmap : disk::ZeroMode::kKeepAllocated;
  co_return co_await disk_.write_zeroes(offset, length, mode);
}

// The driver may switch the write cache meanwhile: what was asked for without it stays so.
Task<Result<void>> Blk::write(const BlkRequest& request) {
  const bool write_back = write_back_.load(std::memory_order_relaxed);
  Result<void> done;
  if (starts_at_once(request)) {
    const Budget::Share share = co_await in_flight_.take(cost_of(request));
    done = co_await disk_.writev(request.offset, request.data);
  } else {
    done = co_await transfer(request);
  }
  const bool stable = !write_back || !write_back_.load(std::memory_order_relaxed);
  if (done && stable) done = co_await disk_.flush();
  co_return done;
}

Task<BlkStatus> Blk::flush() {
  for (;;) {
    Result<void> done = co_await disk_.flush();
    if (done) co_return BlkStatus::kOk;
    const bool again = co_await wait_for_retry(done.error(), "flush", 0, 0);
    if (!again) co_return judge(done, "flush", 0, 0);
  }
}

// False: the driver is to be told.
Task<bool> Blk::wait_for_retry(const Error& error, const char* what, std::uint64_t offset,
                               std::uint64_t length) {
  // Limits of the image itself, which no waiting lifts, have no errno.
  const bool no_space = error.kind() == ErrorKind::kNoSpace && error.os_errno() != 0;
  const bool waits = options_.write_errors == disk::WriteErrors::kWait ||
                     (options_.write_errors == disk::WriteErrors::kWaitNoSpace && no_space);
  if (!waits || server_.stopping()) co_return false;
  if (failed_.empty() && nr_told_ < kMaxTold) {
    ++nr_told_;
    log::error(
        "{}: {} of {} bytes at {:#x} failed: {}; the guest's request waits, and the VM is "
        "paused. When it can succeed, have it tried again: {}",
        options_.name, what, length, offset, error.message(), options_.retry_hint);
  }
  if (nr_waiting_.fetch_add(1) == 0) options_.on_waiting();
  if (held_) drained_.notify_all();
  co_await failed_.wait();
  if (nr_waiting_.fetch_sub(1) == 1) options_.on_waiting();
  co_return !server_.stopping();
}

void Blk::retry() {
  loop_.post([this] {
    nr_told_ = 0;
    failed_.notify_all();
  });
}

BlkStatus Blk::get_id(const BlkRequest& request) const {
  std::array<std::byte, kBlkIdSize> id{};  // padded with zeros
  std::memcpy(id.data(), options_.id.data(), std::min(options_.id.size(), id.size()));
  std::size_t length = std::min<std::uint64_t>(request.length, id.size());
  copy_to_iovec(std::span(id).first(length), request.data, 0);
  return BlkStatus::kOk;
}

BlkStatus Blk::judge(const Result<void>& result, const char* what, std::uint64_t offset,
                     std::uint64_t length) {
  if (result) return BlkStatus::kOk;
  // Given up: nobody looks at it any more.
  if (result.error().kind() == ErrorKind::kBusy && result.error().os_errno() == 0)
    return BlkStatus::kIoError;
  disk_warnings_.warn("{}: {} of {} bytes at {:#x} failed: {}", options_.name, what, length, offset,
                      result.error().message());
  return BlkStatus::kIoError;
}

}  // namespace vmm::virtio
