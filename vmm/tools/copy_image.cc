// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/copy_image.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <thread>

#include "vmm/io/iovec.h"
#include "vmm/io/sync.h"
#include "vmm/io/throttle.h"
#include "vmm/tools/aligned_buffer.h"
#include "vmm/tools/block_status.h"
#include "vmm/tools/concatenation.h"
#include "vmm/tools/worker_pool.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kChunk = 2 << 20;              // bytes copied at once, at most
constexpr std::uint64_t kCompressedChunk = 256 << 10;  // the same, to share among the threads
constexpr unsigned kMaxThreads = 8;
constexpr std::uint64_t kSector = 512;  // bytes

bool all_zero(std::span<std::byte> bytes) {
  const iovec whole = as_iovec(bytes);
  return is_zero(IoVec(&whole, 1));
}

// What is copied at once.
struct Piece {
  std::uint64_t offset = 0;  // in both
  std::uint64_t length = 0;
  bool zero = false;  // nothing to read
  std::uint64_t number = 0;
};

class Copier {
 public:
  Copier(EventLoop& loop, const std::vector<disk::Disk*>& sources, OpenedImage& target,
         const CopyConfig& config, Progress& progress, Throttle* throttle)
      : loop_(loop),
        source_(sources),
        target_(target),
        config_(config),
        progress_(progress),
        throttle_(throttle),
        next_mutex_(loop),
        turn_changed_(loop) {
    if (target.cluster_size() != 0) cluster_size_ = target.cluster_size();
    if (config.compressed) {
      chunk_ = std::max(cluster_size_, kCompressedChunk);
      const unsigned nr_cpus = std::max(1U, std::thread::hardware_concurrency());
      pool_.emplace(loop, std::min(nr_cpus, kMaxThreads));
    } else {
      chunk_ = std::max(cluster_size_, kChunk);
    }
  }

  Task<Result<void>> run() {
    std::vector<Task<void>> workers;
    for (unsigned i = 0; i < config_.nr_workers; ++i) workers.push_back(work());
    for (Task<void>& worker : workers) co_await worker;
    co_return result_;
  }

 private:
  // The next piece to copy; none at the end and after a failure.
  Task<Result<std::optional<Piece>>> next();
  Task<void> work();
  Task<Result<void>> copy(Piece piece, const AlignedBuffer& buffer);
  Task<Result<BlockStatus>> look_up(std::uint64_t offset);
  Task<Result<void>> read_source(std::uint64_t offset, std::span<std::byte> bytes);
  Task<Result<void>> write(std::uint64_t offset, std::span<std::byte> bytes);
  Task<Result<void>> write_sparse(std::uint64_t offset, std::span<std::byte> bytes);
  Task<Result<void>> write_compressed(std::uint64_t offset, std::span<std::byte> bytes);
  Task<Result<void>> write_packed_cluster(std::uint64_t offset, std::span<std::byte> cluster);
  Task<Result<void>> zero(std::uint64_t offset, std::uint64_t length);

  bool is_zero_there(std::uint64_t target_offset) const {
    return target_offset >= config_.target_zero_from;
  }
  void fail_with(const Error& error) {
    if (result_) result_ = Unexpected(error);
  }
  void pass_turn() {
    ++turn_;
    turn_changed_.notify_all();
  }

  EventLoop& loop_;
  const Concatenation source_;
  OpenedImage& target_;
  const CopyConfig& config_;
  Progress& progress_;
  Throttle* const throttle_;           // null: no limit
  std::uint64_t cluster_size_ = 4096;  // of the target; what it is cheap to leave out
  std::uint64_t chunk_ = 0;
  std::optional<WorkerPool> pool_;
  Result<void> result_;

  AsyncMutex next_mutex_;  // guards what next() changes
  std::uint64_t at_ = 0;   // where the next piece starts
  BlockStatus status_;     // around at_, once looked up
  std::uint64_t nr_pieces_ = 0;

  std::uint64_t turn_ = 0;  // the piece whose writes may start
  WaitQueue turn_changed_;
};

Task<Result<std::optional<Piece>>> Copier::next() {
  const AsyncMutex::Lock lock = co_await next_mutex_.lock();
  while (result_ && at_ < source_.size()) {
    if (at_ >= status_.end()) {
      VMM_CO_TRY(status_, co_await look_up(at_));
    }
    // Compressed clusters are made whole, whatever their parts are in the source.
    const bool whole_clusters = config_.compressed;
    std::uint64_t end = status_.end();
    if (whole_clusters && !status_.zero) {
      end = std::min(source_.size(), (end + cluster_size_ - 1) / cluster_size_ * cluster_size_);
    } else if (whole_clusters && end != source_.size()) {
      const std::uint64_t aligned = end / cluster_size_ * cluster_size_;
      end = aligned > at_ ? aligned : std::min(source_.size(), aligned + cluster_size_);
    }
    const bool zero = status_.zero && end <= status_.end();
    if (zero && at_ < config_.target_zero_from) end = std::min(end, config_.target_zero_from);
    Piece piece{.offset = at_, .length = end - at_, .zero = zero};
    if (!zero || config_.sparse_size == 0) {
      piece.length = std::min(piece.length, chunk_ - piece.offset % chunk_);
    }
    at_ += piece.length;
    const bool left_out =
        (config_.skip_backing && status_.depth > 0) || (config_.skip_absent && !status_.present);
    if ((left_out && end <= status_.end()) ||
        (zero && is_zero_there(piece.offset) && config_.sparse_size != 0)) {
      progress_.advance(piece.length);
      continue;
    }
    piece.number = nr_pieces_++;
    co_return std::optional<Piece>(piece);
  }
  co_return std::optional<Piece>();
}

// A sector whose place nobody can tell is tried as data, and becomes zeros then.
Task<Result<BlockStatus>> Copier::look_up(std::uint64_t offset) {
  Result<BlockStatus> status = co_await source_.block_status(offset);
  if (status || !config_.on_unreadable) co_return status;
  const std::uint64_t length = std::min(kSector - offset % kSector, source_.size() - offset);
  co_return BlockStatus{.start = offset, .length = length, .present = true, .data = true};
}

Task<Result<void>> Copier::read_source(std::uint64_t offset, std::span<std::byte> bytes) {
  Result<void> done = co_await source_.read(offset, bytes);
  if (done || !config_.on_unreadable) co_return done;
  for (std::uint64_t at = 0; at < bytes.size(); at += kSector) {
    const auto sector = bytes.subspan(at, std::min<std::uint64_t>(kSector, bytes.size() - at));
    done = co_await source_.read(offset + at, sector);
    if (done) continue;
    config_.on_unreadable(offset + at, done.error());
    std::fill(sector.begin(), sector.end(), std::byte{0});
  }
  co_return Result<void>();
}

Task<void> Copier::work() {
  const AlignedBuffer buffer(chunk_);
  if (!buffer) {
    fail_with(Error(ErrorKind::kInvalid, fmt::format("no memory for {} bytes", chunk_)));
    co_return;
  }
  while (true) {
    const Result<std::optional<Piece>> piece = co_await next();
    if (!piece) fail_with(piece.error());
    if (!piece || !piece->has_value()) co_return;
    if (throttle_ != nullptr) co_await throttle_->pass((*piece)->zero ? 0 : (*piece)->length);
    const Result<void> done = co_await copy(**piece, buffer);
    if (!done) fail_with(done.error());
    progress_.advance((*piece)->length);
  }
}

Task<Result<void>> Copier::copy(Piece piece, const AlignedBuffer& buffer) {
  Result<void> done;
  const bool read = !piece.zero || config_.sparse_size == 0;
  const auto bytes = buffer.span().first(read ? piece.length : 0);
  if (read && piece.zero) std::fill(bytes.begin(), bytes.end(), std::byte{0});
  if (read && !piece.zero) {
    done = co_await read_source(piece.offset, bytes);
    if (!done) {
      done = Unexpected(std::move(done).error().with_context(
          fmt::format("error while reading at byte {}", piece.offset)));
    }
  }
  if (config_.in_order) {
    while (turn_ != piece.number) co_await turn_changed_.wait();
  }
  if (!done) {
    if (config_.in_order) pass_turn();
    co_return done;
  }
  // The write has its place once it has started; the next one may start behind it.
  Task<Result<void>> writing = read ? write(piece.offset, bytes) : zero(piece.offset, piece.length);
  if (config_.in_order) pass_turn();
  done = co_await writing;
  if (!done) {
    done = Unexpected(std::move(done).error().with_context(
        fmt::format("error while writing at byte {}", piece.offset)));
  }
  co_return done;
}

Task<Result<void>> Copier::write(std::uint64_t offset, std::span<std::byte> bytes) {
  if (config_.compressed) co_return co_await write_compressed(offset, bytes);
  if (config_.sparse_size != 0) co_return co_await write_sparse(offset, bytes);
  const iovec iov = as_iovec(bytes);
  co_return co_await target_.disk().writev(offset, IoVec(&iov, 1));
}

// Writes the parts that are not zeros, cut where the target can leave something out.
Task<Result<void>> Copier::write_sparse(std::uint64_t offset, std::span<std::byte> bytes) {
  const std::uint64_t unit = std::max(config_.sparse_size, cluster_size_);
  std::vector<Task<Result<void>>> writes;
  std::vector<iovec> iovs;  // with its final capacity, so that the writes can point into it
  iovs.reserve(bytes.size() / unit + 2);
  for (std::uint64_t at = 0; at < bytes.size();) {
    const auto end_of_unit = [&](std::uint64_t from) {
      return std::min<std::uint64_t>(bytes.size(), (offset + from) / unit * unit + unit - offset);
    };
    std::uint64_t end = end_of_unit(at);
    const bool zeros = all_zero(bytes.subspan(at, end - at));
    while (end < bytes.size() && all_zero(bytes.subspan(end, end_of_unit(end) - end)) == zeros) {
      end = end_of_unit(end);
    }
    if (!zeros) {
      iovs.push_back(as_iovec(bytes.subspan(at, end - at)));
      writes.push_back(target_.disk().writev(offset + at, IoVec(&iovs.back(), 1)));
    } else if (!is_zero_there(offset + at)) {
      writes.push_back(zero(offset + at, end - at));
    }
    at = end;
  }
  Result<void> result;
  for (Task<Result<void>>& each : writes) {
    Result<void> done = co_await each;
    if (!done && result) result = std::move(done);
  }
  co_return result;
}

Task<Result<void>> Copier::write_compressed(std::uint64_t offset, std::span<std::byte> bytes) {
  std::vector<Task<Result<void>>> writes;
  for (std::uint64_t at = 0; at < bytes.size(); at += cluster_size_) {
    const auto cluster = bytes.subspan(at, std::min(cluster_size_, bytes.size() - at));
    if (config_.sparse_size != 0 && all_zero(cluster)) {
      if (!is_zero_there(offset + at)) writes.push_back(zero(offset + at, cluster.size()));
    } else {
      writes.push_back(write_packed_cluster(offset + at, cluster));
    }
  }
  Result<void> result;
  for (Task<Result<void>>& each : writes) {
    Result<void> done = co_await each;
    if (!done && result) result = std::move(done);
  }
  co_return result;
}

// Compresses on a worker thread, and stores what came out.
Task<Result<void>> Copier::write_packed_cluster(std::uint64_t offset,
                                                std::span<std::byte> cluster) {
  const AlignedBuffer packed(cluster_size_ - 1);
  AlignedBuffer padded;
  std::span<std::byte> whole = cluster;
  if (cluster.size() < cluster_size_) {
    padded = AlignedBuffer(cluster_size_);
    padded.fill(std::byte{0});
    std::copy(cluster.begin(), cluster.end(), padded.data());
    whole = padded.span();
  }
  Result<std::size_t> size = std::size_t{0};
  std::function<void()> compress = [&] { size = target_.pack(whole, packed.span()); };
  co_await pool_->run(compress);
  if (!size) co_return Unexpected(std::move(size).error());
  const iovec iov = as_iovec(cluster);
  co_return co_await target_.write_packed(offset, packed.span().first(*size), IoVec(&iov, 1));
}

Task<Result<void>> Copier::zero(std::uint64_t offset, std::uint64_t length) {
  co_return co_await target_.disk().write_zeroes(offset, length, disk::ZeroMode::kMayUnmap);
}

}  // namespace

Task<Result<void>> copy_image(EventLoop& loop, const std::vector<disk::Disk*>& sources,
                              OpenedImage& target, const CopyConfig& config, Progress& progress) {
  std::optional<Throttle> throttle;
  if (config.max_bytes_per_second != 0) {
    VMM_CO_TRY(UniqueFd timer, Throttle::make_timer());
    throttle.emplace(loop, std::move(timer));
    throttle->set_limits({.bytes = config.max_bytes_per_second});
  }
  Copier copier(loop, sources, target, config, progress, throttle ? &*throttle : nullptr);
  co_return co_await copier.run();
}

}  // namespace vmm::tools
