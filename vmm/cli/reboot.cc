// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/reboot.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "vmm/core/unique_fd.h"

namespace vmm::cli {
namespace {

// What goes over the socket: from the first process 0 for "take over", or the number of a signal;
// from the spare one the exit status, once.
using Word = int;
constexpr Word kTakeOver = 0;

sigset_t handed_on() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGUSR1})
    ::sigaddset(&signals, signal);
  return signals;
}

bool send_word(int fd, Word word) {
  return ::write(fd, &word, sizeof word) == sizeof word;
}
// False at the end: the other process is gone.
bool receive_word(int fd, Word& word) {
  ssize_t got;
  do {
    got = ::read(fd, &word, sizeof word);
  } while (got < 0 && errno == EINTR);
  return got == sizeof word;
}

int status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

// The spare process. It has no thread, no file of the guest's, and looks at nothing the guest made.
class Spare {
 public:
  Spare(int socket, const std::function<Result<BootEnd>()>& boot, const sigset_t& mask)
      : socket_(socket), boot_(boot), mask_(mask) {}

  [[noreturn]] void run() {
    // Signals to the process group are for the first process and for the boot.
    const sigset_t all = handed_on();
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    ::prctl(PR_SET_NAME, "vmm-reboot");
    Word word;
    if (!receive_word(socket_, word) || word != kTakeOver) ::_exit(0);
    bool reboot = true;
    int status = 0;
    while (reboot) reboot = run_boot(status);
    send_word(socket_, status);
    ::_exit(0);
  }

 private:
  // Whether there shall be another.
  bool run_boot(int& status) {
    int again[2];  // gets a byte where the guest wants another boot
    if (::pipe2(again, O_CLOEXEC) < 0) return give_up(status, "pipe");
    UniqueFd reader(again[0]), writer(again[1]);
    const pid_t child = ::fork();
    if (child < 0) return give_up(status, "fork");
    if (child == 0) run_child(writer.get());
    writer.reset();
    status = watch(child, reader.get());
    char byte;
    return ::read(reader.get(), &byte, 1) == 1;
  }

  [[noreturn]] void run_child(int again) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "vmm");
    ::close(socket_);
    ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
    Result<BootEnd> end = boot_();
    int status = 1;
    if (!end) {
      fmt::print(stderr, "vmm: {}\n", end.error().message());
    } else {
      status = end->status;
      if (end->reboot) [[maybe_unused]]
        ssize_t put = ::write(again, "r", 1);
    }
    std::fflush(nullptr);
    ::_exit(status);
  }

  // Hands on signals until the child has ended; its status. `ended` is readable from then on.
  int watch(pid_t child, int ended) {
    std::array<pollfd, 2> fds = {{{ended, POLLIN, 0}, {socket_, POLLIN, 0}}};
    while (fds[0].revents == 0) {
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) break;
      if (fds[1].revents == 0) continue;
      Word signal;
      if (receive_word(socket_, signal)) {
        ::kill(child, signal);
      } else {
        ::kill(child, SIGKILL);
        fds[1].fd = -1;
      }
    }
    int wait_status = 0;
    while (::waitpid(child, &wait_status, 0) < 0 && errno == EINTR) {
    }
    return status_of(wait_status);
  }

  static bool give_up(int& status, const char* what) {
    fmt::print(stderr, "vmm: cannot boot again: {}: {}\n", what, std::strerror(errno));
    status = 1;
    return false;
  }

  const int socket_;
  const std::function<Result<BootEnd>()>& boot_;
  const sigset_t mask_;
};

// The first process, once the guest has been reset: by now it may be in its sandbox.
Result<int> wait_for_spare(int socket, int signal_fd) {
  if (!send_word(socket, kTakeOver)) {
    return fail(ErrorKind::kIo, "cannot boot again: the process kept for it is gone");
  }
  std::array<pollfd, 2> fds = {{{socket, POLLIN, 0}, {signal_fd, POLLIN, 0}}};
  for (;;) {
    if (::poll(fds.data(), fds.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "poll");
    }
    if (fds[0].revents != 0) {
      Word status;
      if (receive_word(socket, status)) return status;
      return fail(ErrorKind::kIo, "the process that ran the last boot is gone");
    }
    signalfd_siginfo info{};
    if (::read(signal_fd, &info, sizeof info) != sizeof info) continue;
    send_word(socket, static_cast<Word>(info.ssi_signo));
    if (info.ssi_signo == SIGTSTP) {
      ::kill(::getpid(), SIGSTOP);
      send_word(socket, SIGCONT);
    }
  }
}

}  // namespace

Result<int> boot_until_done(const std::function<Result<BootEnd>()>& boot) {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
    return fail_errno(errno, "socketpair");
  }
  UniqueFd own(sockets[0]), spare(sockets[1]);
  sigset_t mask;
  ::sigprocmask(SIG_SETMASK, nullptr, &mask);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "fork");
  if (pid == 0) {
    own.reset();
    Spare(spare.get(), boot, mask).run();
  }
  spare.reset();
  const sigset_t signals = handed_on();
  UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd) return fail_errno(errno, "signalfd");

  VMM_TRY(const BootEnd end, boot());
  if (!end.reboot) return end.status;
  return wait_for_spare(own.get(), signal_fd.get());
}

}  // namespace vmm::cli
