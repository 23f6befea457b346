// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/io_thread.h"

#include <pthread.h>
#include <signal.h>

namespace vmm {
namespace {

internal::Detached stop_when_idle(EventLoop& loop, Gate& gate) {
  co_await gate.close();
  loop.stop();
}

}  // namespace

Result<std::unique_ptr<IoThread>> IoThread::start(std::string name, EventLoop::Backend backend) {
  VMM_TRY(std::unique_ptr<EventLoop> loop, EventLoop::create(backend));
  std::unique_ptr<IoThread> self(new IoThread(std::move(loop)));

  // Signals belong to the main thread; a thread inherits the mask it is made under.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  self->thread_ = std::thread([loop = self->loop_.get()] { loop->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);

  ::pthread_setname_np(self->thread_.native_handle(), name.substr(0, 15).c_str());
  return self;
}

IoThread::IoThread(std::unique_ptr<EventLoop> loop) : loop_(std::move(loop)), gate_(*loop_) {
}

IoThread::~IoThread() {
  if (!thread_.joinable()) return;
  // A call() comes back a moment before its coroutine has left the gate: let that finish on the
  // loop's thread.
  loop_->post([this] { stop_when_idle(*loop_, gate_); });
  thread_.join();
}

}  // namespace vmm
