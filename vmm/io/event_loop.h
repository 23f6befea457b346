// SPDX-License-Identifier: Apache-2.0
// EventLoop: runs coroutines on one thread and carries out their I/O, by io_uring, or by a small
// thread pool where io_uring is forbidden (found out at the first operation, and said once in the
// log).
//
// A loop belongs to the thread that first runs it: all members but post() and stop() are for that
// thread.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/io/io_op.h"
#include "vmm/io/iovec.h"
#include "vmm/io/task.h"

namespace vmm {

class EventLoop {
 public:
  enum class Backend {
    kAuto,        // io_uring, else the thread pool
    kThreadPool,  // for tests, and for users who distrust io_uring
  };

  // Called once at the end of the turn in which it was asked for with call_at_turn_end().
  class TurnHook {
   public:
    virtual ~TurnHook() = default;
    virtual void on_turn_end() = 0;

   private:
    friend class EventLoop;
    bool armed_ = false;
  };

  // Awaited, gives bytes done or a negative errno; short reads and writes happen.
  class IoAwaiter : public IoOp {
   public:
    IoAwaiter(EventLoop& loop, const IoOp& op) : IoOp(op), loop_(loop) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter = handle;
      loop_.submit(*this);
    }
    std::int64_t await_resume() const noexcept { return result; }

   private:
    EventLoop& loop_;
  };

  // Awaited, gives the count that was on the eventfd (at least 1), or a negative errno.
  class EventAwaiter : public IoAwaiter {
   public:
    using IoAwaiter::IoAwaiter;
    std::int64_t await_resume() const noexcept {
      return result < 0 ? result : static_cast<std::int64_t>(event_count);
    }
  };

  // Awaited, comes back in the loop's next turn.
  class YieldAwaiter {
   public:
    explicit YieldAwaiter(EventLoop& loop) : loop_(loop) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { loop_.make_ready(handle); }
    void await_resume() const noexcept {}

   private:
    EventLoop& loop_;
  };

  static Result<std::unique_ptr<EventLoop>> create(Backend backend = Backend::kAuto);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The iovecs and their buffers must stay until the result is there. At most IOV_MAX (1024)
  // entries. `direct`: `fd` is open with O_DIRECT; a hint.
  IoAwaiter readv(int fd, IoVec iov, std::uint64_t offset, bool direct = false) {
    return transfer(IoOp::Kind::kReadv, fd, iov, offset, direct);
  }
  IoAwaiter writev(int fd, IoVec iov, std::uint64_t offset, bool direct = false) {
    return transfer(IoOp::Kind::kWritev, fd, iov, offset, direct);
  }
  IoAwaiter fdatasync(int fd) { return {*this, IoOp{.kind = IoOp::Kind::kFdatasync, .fd = fd}}; }
  IoAwaiter fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
    return {*this, IoOp{.kind = IoOp::Kind::kFallocate,
                        .fd = fd,
                        .mode = mode,
                        .offset = offset,
                        .length = length}};
  }
  // Waits until poll(2) shows one of `events` (POLLIN, POLLOUT) or an error on `fd`; gives what it
  // shows. May come back early. There is no cancelling: see next_event().
  IoAwaiter poll(int fd, int events) {
    return {*this, IoOp{.kind = IoOp::Kind::kPoll, .fd = fd, .mode = events}};
  }
  // Waits until the eventfd counts. There is no cancelling: to end a waiter, signal the eventfd and
  // let it see why.
  EventAwaiter next_event(int event_fd) {
    return {*this, IoOp{.kind = IoOp::Kind::kReadEvent, .fd = event_fd}};
  }
  YieldAwaiter yield() { return YieldAwaiter(*this); }

  // Resumes `handle` in the next turn, in the order of calls.
  void make_ready(std::coroutine_handle<> handle) { ready_.push_back(handle); }
  void call_at_turn_end(TurnHook& hook);

  // From any thread: runs `work` on the loop's thread, in the order of calls.
  void post(std::function<void()> work);
  // From any thread: makes run() return at the end of its turn.
  void stop();

  // Runs until stop(). What is still in flight then stays so: close gates first.
  void run();
  // Runs until `task` is done, and gives its value.
  template <class T>
  T run_until(Task<T> task) {
    while (!task.done()) turn(/*may_block=*/true);
    return task.take();
  }

  // For a thread that is about to give up rights: sets up what carries out operations now instead
  // of at the first one, and leaves no helper that keeps those rights. Nothing may be in flight.
  // Gives whether it is io_uring.
  bool prepare_to_confine();

  std::size_t nr_in_flight() const { return nr_in_flight_; }
  // How many have begun: tells what happens in one turn from what happens in another.
  std::uint64_t nr_turns() const { return nr_turns_; }
  // "io_uring" or "thread pool"; "none" before the first operation.
  const char* backend_name() const { return backend_ ? backend_->name() : "none"; }

 private:
  EventLoop(Backend kind, UniqueFd wake_fd);
  IoAwaiter transfer(IoOp::Kind kind, int fd, IoVec iov, std::uint64_t offset, bool direct) {
    return {*this, IoOp{.kind = kind,
                        .fd = fd,
                        .iov = iov.data(),
                        .nr_iov = static_cast<unsigned>(iov.size()),
                        .direct = direct,
                        .offset = offset}};
  }
  void submit(IoOp& op);
  IoBackend& backend();
  void turn(bool may_block);
  void complete(bool block);
  bool run_ready();   // whether there was any
  bool run_posted();  // the same
  void run_turn_hooks();
  void arm_wake();
  void wake();

  const Backend backend_kind_;
  std::unique_ptr<IoBackend> backend_;
  std::size_t nr_in_flight_ = 0;  // without wake_op_
  std::uint64_t nr_turns_ = 0;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>>
      running_;  // the batch run_ready() works on; kept for its capacity
  std::vector<TurnHook*> hooks_;

  UniqueFd wake_fd_;
  IoOp wake_op_;
  bool wake_armed_ = false;

  std::mutex mutex_;  // guards what follows
  std::vector<std::function<void()>> posted_;
  bool stop_requested_ = false;
};

}  // namespace vmm
