// SPDX-License-Identifier: Apache-2.0
#include "disk/write_merger.h"

#include <limits.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

namespace vmm::disk {
namespace {

// Bytes of one operation. Larger ones gain little and keep a device busy for long.
constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 20;

// A copy of kMaxSize takes a tenth of that; what takes longer has waited for a disk.
constexpr auto kSlow = std::chrono::milliseconds(2);
constexpr auto kPause = std::chrono::seconds(1);

// From 16 on the worker's copies beside this thread's work are worth waking it.
constexpr std::size_t kFew = 8;

}  // namespace

void WriteMerger::add(Write& write) {
  ++nr_under_way_;
  waiting_size_ += write.end_ - write.offset_;
  waiting_.push_back(&write);
  loop_.call_at_turn_end(*this);
}

void WriteMerger::on_turn_end() {
  // Two writes to the same bytes keep their order, as far as there is any.
  std::stable_sort(waiting_.begin(), waiting_.end(),
                   [](const Write* a, const Write* b) { return a->offset_ < b->offset_; });
  for (std::span<Write* const> left = waiting_; !left.empty();) {
    const std::span<Write* const> run = left.first(length_of_run(left));
    left = left.subspan(run.size());
    if (may_write_here()) {
      write_here(run);
    } else {
      send(run);
    }
  }
  waiting_.clear();
  waiting_size_ = 0;
}

// How many of `writes`, which are sorted, make one operation. At least one.
std::size_t WriteMerger::length_of_run(std::span<Write* const> writes) const {
  std::size_t length = 1;
  std::size_t nr_iov = writes[0]->iov_.size();
  for (; length < writes.size(); ++length) {
    const Write& next = *writes[length];
    nr_iov += next.iov_.size();
    if (next.offset_ != writes[length - 1]->end_ || nr_iov > IOV_MAX ||
        next.end_ - writes[0]->offset_ > kMaxSize) {
      break;
    }
  }
  return length;
}

bool WriteMerger::may_write_here() const {
  return cached_ && nr_under_way_ <= kFew && waiting_size_ <= kMaxSize &&
         Clock::now() >= not_here_before_;
}

std::vector<iovec> WriteMerger::joined(std::span<Write* const> run) {
  std::vector<iovec> all;
  for (const Write* write : run) all.insert(all.end(), write->iov_.begin(), write->iov_.end());
  return all;
}

void WriteMerger::write_here(std::span<Write* const> run) {
  std::vector<iovec> all;
  IoVec iov = run[0]->iov_;
  if (run.size() > 1) iov = all = joined(run);
  const Clock::time_point begin = Clock::now();
  const ssize_t done =
      ::pwritev(fd_, iov.data(), static_cast<int>(iov.size()), static_cast<off_t>(run[0]->offset_));
  const std::int64_t result = done < 0 ? -errno : done;
  const Clock::time_point end = Clock::now();
  if (end - begin > kSlow) not_here_before_ = end + kPause;
  finish(run, result);
}

void WriteMerger::send(std::span<Write* const> run) {
  if (run.size() == 1) {
    run[0]->alone_.await_suspend(run[0]->handle_);
  } else {
    spawn(merged_, write_together({run.begin(), run.end()}));
  }
}

Task<void> WriteMerger::write_together(std::vector<Write*> run) {
  const std::vector<iovec> all = joined(run);
  const std::int64_t result = co_await loop_.writev(fd_, all, run[0]->offset_);
  finish(run, result);
}

void WriteMerger::finish(std::span<Write* const> run, std::int64_t result) {
  std::uint64_t left = result < 0 ? 0 : static_cast<std::uint64_t>(result);
  for (Write* write : run) {
    const std::uint64_t done = std::min(left, write->end_ - write->offset_);
    left -= done;
    write->done_here_ = true;
    write->result_ = static_cast<std::int64_t>(done);
    if (done == 0) write->result_ = run.size() == 1 ? result : -EAGAIN;
    loop_.make_ready(write->handle_);
  }
}

}  // namespace vmm::disk
