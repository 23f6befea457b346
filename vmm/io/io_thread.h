// SPDX-License-Identifier: Apache-2.0
// IoThread: a thread that runs one EventLoop. Each disk has one; vCPU threads never run device or
// disk code.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <thread>

#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm {

class IoThread {
 public:
  // `name` shows in ps and top; at most 15 characters count.
  static Result<std::unique_ptr<IoThread>> start(
      std::string name, EventLoop::Backend backend = EventLoop::Backend::kAuto);
  // Stops the loop and joins. Nothing may be in flight any more.
  ~IoThread();

  EventLoop& loop() { return *loop_; }

  // From any other thread: runs `make_task()`, which returns a Task<T>, on the loop's thread, and
  // waits for its T.
  template <class MakeTask>
  auto call(MakeTask make_task) {
    using T = decltype(make_task().take());
    std::promise<T> promise;
    std::future<T> future = promise.get_future();
    loop_->post([&] { spawn(gate_, fulfil(make_task(), std::move(promise))); });
    return future.get();
  }

 private:
  template <class T>
  static Task<void> fulfil(Task<T> task, std::promise<T> promise) {
    if constexpr (std::is_void_v<T>) {
      co_await task;
      promise.set_value();
    } else {
      promise.set_value(co_await task);
    }
  }

  explicit IoThread(std::unique_ptr<EventLoop> loop);

  std::unique_ptr<EventLoop> loop_;
  Gate gate_;
  std::thread thread_;
};

}  // namespace vmm
