// SPDX-License-Identifier: Apache-2.0
// What is under way inside a qcow disk and must not be crossed.
#pragma once

#include <cstdint>

#include "disk/qcow/units.h"
#include "vmm/io/sync.h"

namespace vmm::disk::qcow {

// Guest clusters whose mapping is being changed: space is allocated and written, the L2 entry not
// yet linked. Whoever wants to change one of them waits until this is over and looks again. Readers
// do not wait: they see what was there before.
//
// It lives in the frame of the coroutine that makes the change.
class Change {
 public:
  Change(EventLoop& loop, Change*& list, std::uint64_t first_cluster, std::uint64_t nr_clusters)
      : first_(first_cluster), end_(first_cluster + nr_clusters), list_(list), over_(loop) {
    next_ = list_;
    if (next_ != nullptr) next_->previous_ = this;
    list_ = this;
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;
  ~Change() {
    (previous_ == nullptr ? list_ : previous_->next_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
    over_.notify_all();
  }

  // Guest clusters [first, end).
  std::uint64_t first() const { return first_; }
  std::uint64_t end() const { return end_; }
  WaitQueue::Awaiter over() { return over_.wait(); }

  // The change in `list` with the lowest cluster that touches [first, end), or null.
  static Change* find(Change* list, std::uint64_t first, std::uint64_t end) {
    Change* lowest = nullptr;
    for (Change* at = list; at != nullptr; at = at->next_) {
      if (at->first_ >= end || at->end_ <= first) continue;
      if (lowest == nullptr || at->first_ < lowest->first_) lowest = at;
    }
    return lowest;
  }

 private:
  const std::uint64_t first_;
  const std::uint64_t end_;
  Change*& list_;
  Change* previous_ = nullptr;
  Change* next_ = nullptr;
  WaitQueue over_;
};

// Requests that use host clusters they looked up and do not own. A freed cluster is not touched
// before all that might still use it are over: those that entered before it was freed.
class Passages {
 public:
  class Pass {
   public:
    explicit Pass(Passages& passages) : passages_(passages), side_(passages.side_) {
      ++passages_.nr_inside_[side_];
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() {
      if (--passages_.nr_inside_[side_] == 0) passages_.left_.notify_all();
    }

   private:
    Passages& passages_;
    const unsigned side_;
  };

  explicit Passages(EventLoop& loop) : left_(loop), mutex_(loop) {}

  // Comes back when all who are inside now have left; newcomers are not waited for.
  Task<void> wait_for_present() {
    AsyncMutex::Lock lock = co_await mutex_.lock();
    const unsigned before = side_;
    side_ ^= 1;
    while (nr_inside_[before] > 0) co_await left_.wait();
  }

 private:
  unsigned side_ = 0;
  std::uint64_t nr_inside_[2] = {0, 0};
  WaitQueue left_;
  AsyncMutex mutex_;
};

}  // namespace vmm::disk::qcow
