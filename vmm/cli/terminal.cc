// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/terminal.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace vmm::cli {
namespace {

// What the fault handler needs. A handler may read only what is lock-free or does not change while
// it is installed.
struct Saved {
  int fd;
  termios before;
};
Saved saved;
std::atomic<bool> saved_valid = false;
static_assert(std::atomic<bool>::is_always_lock_free);

constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr std::size_t kNrFaults = sizeof kFaults / sizeof kFaults[0];
struct sigaction previous_actions[kNrFaults];

// Restores, and lets whatever handled the signal before have it: a fault happens again when this
// returns, a signal that was sent is sent again.
void restore_on_fault(int signal, siginfo_t* info, void*) {
  RawTerminal::restore_now();
  for (std::size_t i = 0; i < kNrFaults; ++i) {
    if (kFaults[i] == signal) ::sigaction(signal, &previous_actions[i], nullptr);
  }
  bool sent = info->si_code <= 0;  // by kill(), abort() and the like
  if (sent) ::raise(signal);
}

void install_fault_handlers() {
  struct sigaction action {};
  action.sa_sigaction = restore_on_fault;
  action.sa_flags = SA_SIGINFO;
  for (std::size_t i = 0; i < kNrFaults; ++i) {
    ::sigaction(kFaults[i], &action, &previous_actions[i]);
  }
}

void remove_fault_handlers() {
  for (std::size_t i = 0; i < kNrFaults; ++i) {
    ::sigaction(kFaults[i], &previous_actions[i], nullptr);
  }
}

// tcsetattr() from the background stops the process unless SIGTTOU is blocked.
void set_mode(int fd, const termios& mode) {
  sigset_t block, before;
  ::sigemptyset(&block);
  ::sigaddset(&block, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &block, &before);
  ::tcsetattr(fd, TCSANOW, &mode);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Result<std::unique_ptr<RawTerminal>> RawTerminal::enter(int fd) {
  std::unique_ptr<RawTerminal> none;
  if (::isatty(fd) == 0 || ::tcgetpgrp(fd) != ::getpgrp()) return none;
  termios before{};
  if (::tcgetattr(fd, &before) < 0) return fail_errno(errno, "terminal: tcgetattr");
  termios raw = before;
  ::cfmakeraw(&raw);
  std::unique_ptr<RawTerminal> self(new RawTerminal(fd, before, raw));
  saved = {fd, before};
  saved_valid = true;
  install_fault_handlers();
  self->resume();
  return self;
}

RawTerminal::~RawTerminal() {
  suspend();
  saved_valid = false;
  remove_fault_handlers();
}

void RawTerminal::restore_now() {
  if (saved_valid.exchange(false)) ::tcsetattr(saved.fd, TCSANOW, &saved.before);
}

void RawTerminal::suspend() {
  set_mode(fd_, before_);
}
void RawTerminal::resume() {
  set_mode(fd_, raw_);
}

}  // namespace vmm::cli
