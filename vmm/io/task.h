// SPDX-License-Identifier: Apache-2.0
// Task<T>: a coroutine that starts at once, runs on its event loop's thread, and hands its value to
// the one who awaits it.
//
// Eager on purpose: a task that never has to wait (a cache hit) is done when it returns, and
// awaiting it does not suspend, so a loop over a million hits uses no stack. A lazy task with
// symmetric transfer overflows there in unoptimised builds.
//
// Rules: await a Task exactly once, or give it to spawn() (vmm/io/sync.h). Parameters that must
// live across an await are passed by value, or the caller keeps them alive. g++ 12: no capturing
// lambdas as coroutines, and no temporary aggregate or capturing lambda inside a co_await
// expression: name it first.
#pragma once

#include <cassert>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "vmm/io/frame_pool.h"

namespace vmm {

template <class T>
class Task;

namespace internal {

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
    std::coroutine_handle<> waiter = self.promise().waiter_;
    return waiter ? waiter : std::noop_coroutine();
  }
  void await_resume() const noexcept {}
};

struct PromiseBase {
  std::suspend_never initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  // The tree uses Result for errors; what escapes here is std::bad_alloc or a bug, and must not be
  // lost.
  void unhandled_exception() const noexcept { std::terminate(); }

  static void* operator new(std::size_t size) { return FramePool::allocate(size); }
  static void operator delete(void* frame, std::size_t size) { FramePool::release(frame, size); }

  std::coroutine_handle<> waiter_;
};

template <class T>
struct Promise : PromiseBase {
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() { return std::move(*value_); }

  std::optional<T> value_;
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace internal

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (!handle_) return;
    // A frame that something in flight still points into must not go away.
    assert(handle_.done() && "a Task was dropped before it was done");
    handle_.destroy();
  }

  bool done() const { return handle_.done(); }

  // The value of a task that is done; for those who drive the loop themselves.
  T take() {
    assert(done());
    return handle_.promise().take();
  }

  bool await_ready() const noexcept { return handle_.done(); }
  void await_suspend(std::coroutine_handle<> waiter) noexcept {
    assert(!handle_.promise().waiter_);
    handle_.promise().waiter_ = waiter;
  }
  T await_resume() { return handle_.promise().take(); }

 private:
  Handle handle_;
};

namespace internal {

template <class T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

}  // namespace internal
}  // namespace vmm
