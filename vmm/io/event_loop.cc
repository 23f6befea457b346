// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cassert>
#include <cstdlib>

#include "vmm/core/log.h"
#include "vmm/io/blocking_backend.h"
#include "vmm/io/thread_pool_backend.h"
#include "vmm/io/uring_backend.h"

namespace vmm {
namespace {

std::unique_ptr<IoBackend> choose_backend(EventLoop::Backend kind) {
  if (kind == EventLoop::Backend::kAuto) {
    if (only_blocking_calls()) return create_blocking_backend();
    Result<std::unique_ptr<IoBackend>> uring = create_uring_backend();
    if (uring) return *std::move(uring);
    static std::once_flag said;
    std::call_once(said, [&] {
      log::warn("io_uring cannot be used ({}): disks run on a thread pool, which is slower",
                uring.error().message());
    });
  }
  Result<std::unique_ptr<IoBackend>> pool = create_thread_pool_backend();
  if (!pool) {
    // No descriptor left before any disk I/O happened: there is nothing to go on with.
    log::error("disk I/O cannot start: {}", pool.error().message());
    std::abort();
  }
  return *std::move(pool);
}

}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::create(Backend kind) {
  UniqueFd wake_fd(::eventfd(0, EFD_CLOEXEC));
  if (!wake_fd) return fail_errno(errno, "eventfd");
  return std::unique_ptr<EventLoop>(new EventLoop(kind, std::move(wake_fd)));
}

EventLoop::EventLoop(Backend kind, UniqueFd wake_fd)
    : backend_kind_(kind),
      wake_fd_(std::move(wake_fd)),
      wake_op_{.kind = IoOp::Kind::kReadEvent, .fd = wake_fd_.get()} {
}

EventLoop::~EventLoop() {
  assert(nr_in_flight_ == 0 && "operations in flight would outlive their loop");
  // The kernel may still hold wake_op_'s address.
  wake();
  while (wake_armed_) complete(/*block=*/true);
}

IoBackend& EventLoop::backend() {
  if (!backend_) backend_ = choose_backend(backend_kind_);
  return *backend_;
}

bool EventLoop::prepare_to_confine() {
  assert(nr_in_flight_ == 0);
  backend().end_idle_threads();
  return backend().kind() == IoBackend::Kind::kRing;
}

void EventLoop::submit(IoOp& op) {
  ++nr_in_flight_;
  backend().submit(op);
}

void EventLoop::call_at_turn_end(TurnHook& hook) {
  if (hook.armed_) return;
  hook.armed_ = true;
  hooks_.push_back(&hook);
}

void EventLoop::post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  wake();
}

void EventLoop::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_requested_ = true;
  }
  wake();
}

void EventLoop::wake() {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = ::write(wake_fd_.get(), &one, sizeof one);
}

void EventLoop::run() {
  while (true) {
    turn(/*may_block=*/true);
    std::lock_guard lock(mutex_);
    if (stop_requested_) break;
  }
  std::lock_guard lock(mutex_);
  stop_requested_ = false;
}

void EventLoop::turn(bool may_block) {
  ++nr_turns_;
  // Whoever drives the loop must see what the ready ones did before it waits for anything else.
  bool progressed = run_posted();
  progressed = run_ready() || progressed;
  run_turn_hooks();
  bool block = may_block && !progressed && ready_.empty();
  if (block) arm_wake();  // so that post() and stop() end the wait
  if (backend_) complete(block);
  run_turn_hooks();
}

void EventLoop::arm_wake() {
  if (wake_armed_) return;
  wake_armed_ = true;
  backend().submit(wake_op_);
}

void EventLoop::complete(bool block) {
  IoOpList done;
  backend_->turn(block, done);
  while (IoOp* op = done.pop()) {
    if (op == &wake_op_) {
      wake_armed_ = false;
      continue;
    }
    --nr_in_flight_;
    op->waiter.resume();  // may destroy the operation, and may submit others
  }
}

bool EventLoop::run_ready() {
  running_.swap(ready_);
  for (std::coroutine_handle<> handle : running_) handle.resume();
  bool any = !running_.empty();
  running_.clear();
  return any;
}

bool EventLoop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (const std::function<void()>& item : work) item();
  return !work.empty();
}

void EventLoop::run_turn_hooks() {
  // A hook may arm others, or itself again: those run too, as they would otherwise wait for an
  // unrelated event.
  for (std::size_t i = 0; i < hooks_.size(); ++i) {
    TurnHook* hook = hooks_[i];
    hook->armed_ = false;
    hook->on_turn_end();
  }
  hooks_.clear();
}

}  // namespace vmm
