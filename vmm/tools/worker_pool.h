// SPDX-License-Identifier: Apache-2.0
// WorkerPool: threads for work that only computes, so that the event loop goes on meanwhile.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "vmm/io/event_loop.h"

namespace vmm::tools {

class WorkerPool {
 public:
  WorkerPool(EventLoop& loop, unsigned nr_threads);
  // Nothing may be under way.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Awaited on the loop's thread: comes back there once `work` has run on one of the threads.
  // `work` may use what lives in the awaiting coroutine.
  auto run(std::function<void()>& work) {
    struct Awaiter {
      WorkerPool& pool;
      std::function<void()>& work;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) { pool.push({&work, handle}); }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this, work};
  }

 private:
  struct Job {
    std::function<void()>* work;
    std::coroutine_handle<> waiter;
  };

  void push(Job job);
  void serve();

  EventLoop& loop_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vmm::tools
