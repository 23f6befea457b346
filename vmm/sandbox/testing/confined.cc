// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/testing/confined.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "vmm/io/io_thread.h"
#include "vmm/sandbox/testing/in_child.h"

namespace vmm::sandbox::testing {
namespace {

void give_up(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  ::_exit(kRefused);
}

void confine(ThreadKind kind) {
  Result<void> confined = confine_thread(SandboxConfig{}, kind);
  if (!confined) give_up(confined.error().message().c_str());
}

// Everything that an event loop offers, once.
Task<void> use_the_loop(EventLoop& loop, int fd) {
  char bytes[512] = "text";
  iovec iov{bytes, sizeof bytes};
  if (co_await loop.writev(fd, IoVec(&iov, 1), 0) != 512) give_up("writev");
  if (co_await loop.readv(fd, IoVec(&iov, 1), 0) != 512) give_up("readv");
  if (co_await loop.fdatasync(fd) != 0) give_up("fdatasync");
  if (co_await loop.fallocate(fd, 0, 512, 512) < 0) give_up("fallocate");
}

Task<void> confine_and_act(EventLoop& loop, int fd, ThreadKind kind,
                           const std::function<void()>& act) {
  bool on_ring = loop.prepare_to_confine();
  if (on_ring != (kind == ThreadKind::kIoRing)) give_up("io_uring is not allowed here");
  co_await use_the_loop(loop, fd);
  confine(kind);
  co_await use_the_loop(loop, fd);
  act();
}

void act_on_io_thread(ThreadKind kind, const std::function<void()>& act) {
  char path[] = "/tmp/vmm-sandbox-XXXXXX";
  UniqueFd file(::mkostemp(path, O_CLOEXEC));
  ::unlink(path);
  auto backend =
      kind == ThreadKind::kIoPool ? EventLoop::Backend::kThreadPool : EventLoop::Backend::kAuto;
  std::unique_ptr<IoThread> thread = *IoThread::start("io", backend);
  thread->call([&] { return confine_and_act(thread->loop(), file.get(), kind, act); });
}

}  // namespace

void act_confined(ThreadKind kind, const std::function<void()>& act) {
  Result<void> entered = enter(SandboxConfig{});
  if (!entered) give_up(entered.error().message().c_str());
  switch (kind) {
    case ThreadKind::kIoRing:
    case ThreadKind::kIoPool:
      act_on_io_thread(kind, act);
      break;
    case ThreadKind::kVcpu:
      std::thread([&] {
        sigset_t all;  // as on a real one: nothing but its kick comes through
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        confine(kind);
        act();
      }).join();
      break;
    default:
      confine(kind);
      act();
  }
}

}  // namespace vmm::sandbox::testing
