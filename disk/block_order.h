// SPDX-License-Identifier: Apache-2.0
// BlockOrder: keeps changes of a file apart that must not cross where it takes only whole blocks.
//
// A change of part of a block reads the block, changes it, and writes it back. Whatever else
// changes the block meanwhile is lost or undone by that, so the later of the two waits. Changes of
// whole blocks never wait for each other, and where no part of a block is being changed they look
// at nothing.
#pragma once

#include <cassert>
#include <cstdint>

#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"
#include "vmm/io/task.h"

namespace vmm::disk {

class BlockOrder {
 public:
  enum class Kind {
    kWhole,  // no byte is written that was not given
    kPart,   // [begin, end) is whole blocks, and what is not given is read and written back
  };

  // A change of the bytes [begin, end). It lives in the frame of the coroutine that makes it:
  //   BlockOrder::Change change(order, begin, end, kind);
  //   if (change.must_wait()) co_await change.turn();
  class Change {
   public:
    Change(BlockOrder& order, std::uint64_t begin, std::uint64_t end, Kind kind)
        : order_(order), begin_(begin), end_(end), kind_(kind), over_(order.loop_) {
      older_ = order_.newest_;
      if (older_ != nullptr) older_->newer_ = this;
      order_.newest_ = this;
      if (kind_ == Kind::kPart) ++order_.nr_parts_;
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    ~Change() {
      (newer_ == nullptr ? order_.newest_ : newer_->older_) = older_;
      if (older_ != nullptr) older_->newer_ = newer_;
      if (kind_ == Kind::kPart) --order_.nr_parts_;
      over_.notify_all();
    }

    bool must_wait() const { return order_.nr_parts_ > 0 && find_earlier() != nullptr; }
    // Waits only for those that came before, so nobody waits for ever, and no two for each other.
    Task<void> turn() {
      while (Change* earlier = find_earlier()) co_await earlier->over_.wait();
    }

   private:
    Change* find_earlier() const {
      for (Change* at = older_; at != nullptr; at = at->older_) {
        const bool meets = at->begin_ < end_ && begin_ < at->end_;
        if (meets && (kind_ == Kind::kPart || at->kind_ == Kind::kPart)) return at;
      }
      return nullptr;
    }

    BlockOrder& order_;
    const std::uint64_t begin_, end_;
    const Kind kind_;
    Change* older_ = nullptr;
    Change* newer_ = nullptr;
    WaitQueue over_;
  };

  explicit BlockOrder(EventLoop& loop) : loop_(loop) {}
  ~BlockOrder() { assert(newest_ == nullptr); }

 private:
  EventLoop& loop_;
  Change* newest_ = nullptr;
  std::uint64_t nr_parts_ = 0;  // of the kind
};

}  // namespace vmm::disk
