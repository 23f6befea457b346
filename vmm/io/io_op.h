// SPDX-License-Identifier: Apache-2.0
// IoOp: one operation in flight. It lives in the awaiting coroutine's frame and is its own
// completion object: its address travels through the kernel as io_uring's user_data, so nothing is
// allocated per operation.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>

namespace vmm {

struct IoOp {
  enum class Kind : std::uint8_t {
    kReadv,
    kWritev,
    kFdatasync,
    kFallocate,
    kPoll,       // waits until poll(2) would show one of the events in `mode`; gives those
    kReadEvent,  // one read of an eventfd's counter into event_count; waits until it is not 0
  };

  Kind kind;
  int fd;
  const iovec* iov = nullptr;
  unsigned nr_iov = 0;
  int mode = 0;         // fallocate(2), poll(2)
  bool direct = false;  // a transfer past the page cache
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // fallocate(2)
  std::uint64_t event_count = 0;

  std::int64_t result = 0;  // bytes, or a negative errno
  std::coroutine_handle<> waiter;
  IoOp* next = nullptr;  // in whichever list the operation is in: it is in one at a time
};

// A first-in first-out list through IoOp::next.
class IoOpList {
 public:
  bool empty() const { return head_ == nullptr; }
  void push(IoOp& op) {
    op.next = nullptr;
    *(tail_ == nullptr ? &head_ : &tail_->next) = &op;
    tail_ = &op;
  }
  IoOp* pop() {
    IoOp* op = head_;
    if (op == nullptr) return nullptr;
    head_ = op->next;
    if (head_ == nullptr) tail_ = nullptr;
    return op;
  }

 private:
  IoOp* head_ = nullptr;
  IoOp* tail_ = nullptr;
};

// What carries operations out. All calls come from the loop's thread.
class IoBackend {
 public:
  virtual ~IoBackend() = default;
  // Takes the operation; the kernel or a worker sees it by the next turn() at the latest.
  virtual void submit(IoOp& op) = 0;
  // Sends what was submitted, waits for at least one completion if `wait`, and appends all there
  // are to `done`. `wait` with nothing in flight must not be asked for.
  virtual void turn(bool wait, IoOpList& done) = 0;
  virtual const char* name() const = 0;
  enum class Kind { kRing, kThreads };
  virtual Kind kind() const = 0;
  // Ends the threads that wait for work, if there are any; later ones are made when work comes.
  virtual void end_idle_threads() {}
};

}  // namespace vmm
