// SPDX-License-Identifier: Apache-2.0
// Budget: an amount, of bytes for instance, that coroutines of one loop share: first come, first
// served.
//   const Budget::Share share = co_await budget.take(length);
#pragma once

#include <algorithm>
#include <cassert>
#include <coroutine>
#include <cstdint>
#include <utility>

#include "vmm/io/event_loop.h"

namespace vmm {

class Budget {
 public:
  // What somebody has taken, until its end.
  class Share {
   public:
    Share() = default;
    Share(Budget* budget, std::uint64_t amount) : budget_(budget), amount_(amount) {}
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), amount_(other.amount_) {}
    Share& operator=(Share&& other) noexcept {
      if (this == &other) return *this;
      give_back();
      budget_ = std::exchange(other.budget_, nullptr);
      amount_ = other.amount_;
      return *this;
    }
    ~Share() { give_back(); }

   private:
    void give_back() {
      if (budget_ != nullptr) std::exchange(budget_, nullptr)->give(amount_);
    }

    Budget* budget_ = nullptr;
    std::uint64_t amount_ = 0;
  };

  // Lives in the frame of the coroutine that waits, so that waiting allocates nothing.
  class Awaiter {
   public:
    Awaiter(Budget& budget, std::uint64_t amount) : budget_(budget), amount_(amount) {}
    bool await_ready() noexcept { return budget_.begin(amount_); }
    void await_suspend(std::coroutine_handle<> handle) { budget_.push(*this, handle); }
    Share await_resume() noexcept { return Share(&budget_, amount_); }

   private:
    friend class Budget;
    Budget& budget_;
    const std::uint64_t amount_;
    std::coroutine_handle<> handle_;
    Awaiter* next_ = nullptr;
  };

  Budget(EventLoop& loop, std::uint64_t total) : loop_(loop), total_(total), free_(total) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;
  ~Budget() { assert(free_ == total_ && first_ == nullptr); }

  // Who asks for more than there is in all gets all.
  Awaiter take(std::uint64_t amount) { return Awaiter(*this, std::min(amount, total_)); }
  // After at_once(): the same without an await.
  Share take_now(std::uint64_t amount) {
    amount = std::min(amount, total_);
    assert(at_once(amount));
    free_ -= amount;
    return Share(this, amount);
  }
  std::uint64_t left() const { return free_; }
  // Whether take() would not wait.
  bool at_once(std::uint64_t amount) const {
    return first_ == nullptr && std::min(amount, total_) <= free_;
  }

 private:
  bool begin(std::uint64_t amount) {
    if (!at_once(amount)) return false;
    free_ -= amount;
    return true;
  }
  void push(Awaiter& waiter, std::coroutine_handle<> handle) {
    waiter.handle_ = handle;
    *(first_ == nullptr ? &first_ : &last_->next_) = &waiter;
    last_ = &waiter;
  }
  // Takes on behalf of those who wait, so that no newcomer slips in before they run.
  void give(std::uint64_t amount) {
    free_ += amount;
    while (first_ != nullptr && first_->amount_ <= free_) {
      Awaiter* next = std::exchange(first_, first_->next_);
      free_ -= next->amount_;
      loop_.make_ready(next->handle_);
    }
  }

  EventLoop& loop_;
  const std::uint64_t total_;
  std::uint64_t free_;
  Awaiter* first_ = nullptr;
  Awaiter* last_ = nullptr;  // only where first_ is set
};

}  // namespace vmm
