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

}  // namespace

void WriteMerger::add(Write& write) {
  ++nr_under_way_;
  waiting_.push_back(&write);
  loop_.call_at_turn_end(*this);
}

bool WriteMerger::may_write_here() const {
  return cached_ && waiting_.size() == 1 && nr_under_way_ == 1 && Clock::now() >= not_here_before_;
}

void WriteMerger::write_here(Write& write) {
  const Clock::time_point begin = Clock::now();
  const ssize_t done = ::pwritev(fd_, write.iov_.data(), static_cast<int>(write.iov_.size()),
                                 static_cast<off_t>(write.offset_));
  write.result_ = done < 0 ? -errno : done;
  write.done_here_ = true;
  const Clock::time_point end = Clock::now();
  if (end - begin > kSlow) not_here_before_ = end + kPause;
  loop_.make_ready(write.handle_);
}

void WriteMerger::on_turn_end() {
  if (may_write_here()) {
    Write& only = *waiting_.front();
    waiting_.clear();
    return write_here(only);
  }
  // Two writes to the same bytes keep their order, as far as there is any.
  std::stable_sort(waiting_.begin(), waiting_.end(),
                   [](const Write* a, const Write* b) { return a->offset_ < b->offset_; });
  for (std::size_t first = 0; first < waiting_.size();) {
    std::size_t last = first;
    std::size_t nr_iov = waiting_[first]->iov_.size();
    while (last + 1 < waiting_.size()) {
      const Write& next = *waiting_[last + 1];
      nr_iov += next.iov_.size();
      if (next.offset_ != waiting_[last]->end_ || nr_iov > IOV_MAX ||
          next.end_ - waiting_[first]->offset_ > kMaxSize) {
        break;
      }
      ++last;
    }
    if (first == last) {
      waiting_[first]->alone_.await_suspend(waiting_[first]->handle_);
    } else {
      const auto begin = waiting_.begin() + static_cast<std::ptrdiff_t>(first);
      std::vector<Write*> run(begin, begin + static_cast<std::ptrdiff_t>(last + 1 - first));
      spawn(merged_, write_together(std::move(run)));
    }
    first = last + 1;
  }
  waiting_.clear();
}

Task<void> WriteMerger::write_together(std::vector<Write*> writes) {
  std::vector<iovec> all;
  for (const Write* write : writes) all.insert(all.end(), write->iov_.begin(), write->iov_.end());
  const std::int64_t result = co_await loop_.writev(fd_, all, writes.front()->offset_);
  std::uint64_t left = result < 0 ? 0 : static_cast<std::uint64_t>(result);
  for (Write* write : writes) {
    const std::uint64_t done = std::min(left, write->end_ - write->offset_);
    left -= done;
    write->done_here_ = true;
    write->result_ = done == 0 ? -EAGAIN : static_cast<std::int64_t>(done);
    loop_.make_ready(write->handle_);
  }
}

}  // namespace vmm::disk
