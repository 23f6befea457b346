// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/worker_pool.h"

namespace vmm::tools {

WorkerPool::WorkerPool(EventLoop& loop, unsigned nr_threads) : loop_(loop) {
  for (unsigned i = 0; i < nr_threads; ++i) threads_.emplace_back([this] { serve(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::push(Job job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(job);
  }
  changed_.notify_one();
}

void WorkerPool::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    (*job.work)();
    loop_.post([waiter = job.waiter] { waiter.resume(); });
    lock.lock();
  }
}

}  // namespace vmm::tools
