// SPDX-License-Identifier: Apache-2.0
// Waiting for one another inside one EventLoop. None of this is for threads: everything runs on the
// loop's thread, and a woken coroutine continues in the loop's next turn, never inside the waker.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <utility>

#include "vmm/io/event_loop.h"
#include "vmm/io/task.h"

namespace vmm {

// Coroutines that wait for a condition; they check it again when woken:
//   while (!condition) co_await queue.wait();
class WaitQueue {
 public:
  // Lives in the frame of the coroutine that waits, so that waiting allocates nothing.
  class Awaiter {
   public:
    explicit Awaiter(WaitQueue& queue) : queue_(queue) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { queue_.push(*this, handle); }
    void await_resume() const noexcept {}

   private:
    friend class WaitQueue;
    WaitQueue& queue_;
    std::coroutine_handle<> handle_;
    Awaiter* next_ = nullptr;
  };

  explicit WaitQueue(EventLoop& loop) : loop_(loop) {}
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue() { assert(empty()); }

  Awaiter wait() { return Awaiter(*this); }

  void notify_one() {
    if (head_ == nullptr) return;
    Awaiter* first = head_;
    head_ = first->next_;
    loop_.make_ready(first->handle_);
  }
  void notify_all() {
    while (head_ != nullptr) notify_one();
  }
  bool empty() const { return head_ == nullptr; }

 private:
  void push(Awaiter& waiter, std::coroutine_handle<> handle) {
    waiter.handle_ = handle;
    waiter.next_ = nullptr;
    *(head_ == nullptr ? &head_ : &tail_->next_) = &waiter;
    tail_ = &waiter;
  }

  EventLoop& loop_;
  Awaiter* head_ = nullptr;
  Awaiter* tail_ = nullptr;  // only where head_ is set
};

// Mutual exclusion across awaits, first come first served.
//   AsyncMutex::Lock lock = co_await mutex.lock();
class AsyncMutex {
 public:
  class Lock {
   public:
    explicit Lock(AsyncMutex* mutex) : mutex_(mutex) {}
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() { unlock(); }
    void unlock() {
      if (mutex_ != nullptr) std::exchange(mutex_, nullptr)->release();
    }

   private:
    AsyncMutex* mutex_;
  };

  explicit AsyncMutex(EventLoop& loop) : waiters_(loop) {}

  auto lock() {
    struct Awaiter {
      AsyncMutex& mutex;
      WaitQueue::Awaiter place;
      bool await_ready() noexcept {
        if (mutex.held_) return false;
        mutex.held_ = true;
        return true;
      }
      void await_suspend(std::coroutine_handle<> handle) { place.await_suspend(handle); }
      Lock await_resume() noexcept { return Lock(&mutex); }
    };
    return Awaiter{*this, waiters_.wait()};
  }

 private:
  void release() {
    assert(held_);
    // Handed straight to the next one, so that a newcomer cannot slip in before it runs.
    if (waiters_.empty()) {
      held_ = false;
    } else {
      waiters_.notify_one();
    }
  }

  bool held_ = false;
  WaitQueue waiters_;
};

// Counts work in flight. close() lets nobody else in and comes back when the last one has left: the
// way to stop anything that is used by coroutines.
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate* gate) : gate_(gate) {}
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->leave();
    }

   private:
    Gate* gate_;
  };

  explicit Gate(EventLoop& loop) : left_(loop) {}
  ~Gate() { assert(nr_inside_ == 0); }

  bool closed() const { return closed_; }
  std::size_t nr_inside() const { return nr_inside_; }

  // Must not be called once the gate is closed.
  Pass enter() {
    assert(!closed_);
    ++nr_inside_;
    return Pass(this);
  }

  // May be called by several; all come back when nobody is inside.
  Task<void> close() {
    closed_ = true;
    while (nr_inside_ > 0) co_await left_.wait();
  }
  void reopen() {
    assert(nr_inside_ == 0);
    closed_ = false;
  }

 private:
  void leave() {
    assert(nr_inside_ > 0);
    if (--nr_inside_ == 0) left_.notify_all();
  }

  bool closed_ = false;
  std::size_t nr_inside_ = 0;
  WaitQueue left_;
};

namespace internal {

struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* frame, std::size_t size) { FramePool::release(frame, size); }
  };
};

inline Detached hold(Task<void> task, [[maybe_unused]] Gate::Pass pass) {
  co_await task;
}

}  // namespace internal

// Lets `task` run on its own; `gate` knows when it is over.
inline void spawn(Gate& gate, Task<void> task) {
  internal::hold(std::move(task), gate.enter());
}

}  // namespace vmm
