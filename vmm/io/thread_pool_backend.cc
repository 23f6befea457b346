// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/thread_pool_backend.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "vmm/core/unique_fd.h"
#include "vmm/io/blocking_backend.h"

namespace vmm {
namespace {

constexpr unsigned kMaxWorkers = 16;

class ThreadPoolBackend : public IoBackend {
 public:
  explicit ThreadPoolBackend(UniqueFd wake) : wake_(std::move(wake)) {}

  ~ThreadPoolBackend() override { end_idle_threads(); }

  void end_idle_threads() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_there_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_ = false;  // nobody else is there to see it
  }

  void submit(IoOp& op) override {
    if (is_polled(op)) {
      events_.push_back(&op);
      return;
    }
    {
      std::lock_guard lock(mutex_);
      queue_.push(op);
      ++nr_queued_;
      if (nr_queued_ > nr_idle_ && workers_.size() < kMaxWorkers) start_worker();
    }
    work_there_.notify_one();
  }

  void turn(bool wait, IoOpList& done) override {
    poll_fds_.assign(1, pollfd{wake_.get(), POLLIN, 0});
    for (const IoOp* op : events_) poll_fds_.push_back(poll_entry(*op));
    int nr_ready = ::poll(poll_fds_.data(), poll_fds_.size(), wait ? -1 : 0);
    if (nr_ready <= 0) return;  // nothing yet, or a signal: the loop comes again
    collect_events(done);
    if (poll_fds_[0].revents != 0) {
      std::uint64_t count;
      [[maybe_unused]] ssize_t got = ::read(wake_.get(), &count, sizeof count);
      std::lock_guard lock(mutex_);
      while (IoOp* op = finished_.pop()) done.push(*op);
    }
  }

  const char* name() const override { return "thread pool"; }
  Kind kind() const override { return Kind::kThreads; }

 private:
  void collect_events(IoOpList& done) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      IoOp* op = events_[i];
      if (poll_fds_[i + 1].revents == 0) {
        events_[kept++] = op;
        continue;
      }
      finish_polled(*op, poll_fds_[i + 1].revents);
      done.push(*op);
    }
    events_.resize(kept);
  }

  void start_worker() {
    // Workers take no signals: those belong to the main thread.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    workers_.emplace_back([this] { work(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      ++nr_idle_;
      work_there_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      --nr_idle_;
      IoOp* op = queue_.pop();
      if (op == nullptr) return;  // stopping, and nothing is left
      --nr_queued_;
      lock.unlock();
      op->result = perform_blocking(*op);
      lock.lock();
      finished_.push(*op);
      std::uint64_t one = 1;
      [[maybe_unused]] ssize_t put = ::write(wake_.get(), &one, sizeof one);
    }
  }

  UniqueFd wake_;                 // counts completions that turn() has not taken
  std::vector<IoOp*> events_;     // is_polled() ones, loop thread only
  std::vector<pollfd> poll_fds_;  // loop thread only; [0] is wake_
  std::vector<std::thread> workers_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable work_there_;
  IoOpList queue_;
  IoOpList finished_;
  std::size_t nr_queued_ = 0;
  std::size_t nr_idle_ = 0;
  bool stopping_ = false;
};

}  // namespace

Result<std::unique_ptr<IoBackend>> create_thread_pool_backend() {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno(errno, "eventfd");
  return std::unique_ptr<IoBackend>(std::make_unique<ThreadPoolBackend>(std::move(wake)));
}

}  // namespace vmm
