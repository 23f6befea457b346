// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/jail.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "vmm/core/unique_fd.h"
#include "vmm/sandbox/filter.h"
#include "vmm/sandbox/privileges.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/sandbox/violation.h"

namespace vmm::sandbox {
namespace {

int status_of(int wait_status) {
  if (WIFEXITED(wait_status)) return WEXITSTATUS(wait_status);
  return 128 + WTERMSIG(wait_status);
}

// Its own confinement: it holds the terminal, is root, and is what a jailed process might signal.
void confine_supervisor() {
  constexpr std::uint64_t kMaySignal = std::uint64_t{1} << CAP_KILL;  // the child's user is another
  (void)drop_capabilities(kMaySignal);
  if (!has_filters()) return;
  prepare_for_violations(ThreadKind::kSupervisor);
  (void)install_filter(ThreadKind::kSupervisor);
}

[[noreturn]] void supervise(pid_t child, const sigset_t& signals) {
  confine_supervisor();
  while (true) {
    int wait_status = 0;
    pid_t changed = ::waitpid(child, &wait_status, WNOHANG);
    if (changed == child) ::_exit(status_of(wait_status));
    siginfo_t info{};
    int signal = ::sigwaitinfo(&signals, &info);
    if (signal < 0 || signal == SIGCHLD) continue;
    // What the terminal sends (SI_KERNEL) goes to the whole foreground group: the child has it.
    if (info.si_code <= SI_USER) ::kill(child, signal);
  }
}

// The child must not outlive its supervisor, not even one that died before this call.
void tie_to_supervisor(int supervisor_alive) {
  die_with_supervisor();
  pollfd watched{supervisor_alive, 0, 0};
  if (::poll(&watched, 1, 0) > 0 && (watched.revents & POLLHUP) != 0) ::_exit(1);
}

}  // namespace

void die_with_supervisor() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

Result<void> enter_namespaces() {
  constexpr int kNamespaces =
      CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (::unshare(kNamespaces) != 0) return fail_errno(errno, "--jail: new namespaces");
  // What is mounted in here stays in here.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return fail_errno(errno, "--jail: make the mounts private");
  }
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) return fail_errno(errno, "--jail: pipe");
  UniqueFd read_end(pipe_ends[0]), write_end(pipe_ends[1]);

  // Signals wait until the supervisor is there to hand them on.
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  pid_t child = ::fork();
  if (child > 0) {
    read_end.reset();
    ::sigdelset(&all, SIGSYS);
    supervise(child, all);
  }
  int error = errno;
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) return fail_errno(error, "--jail: fork");
  write_end.reset();
  tie_to_supervisor(read_end.get());
  return {};
}

Result<void> pivot_root_to(const std::string& directory) {
  const bool empty = directory.empty();
  // A place to mount on; what it hides is gone in a moment anyway.
  const char* root = empty ? "/tmp" : directory.c_str();
  if (empty) {
    constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::mount("vmm-jail", root, "tmpfs", kFlags, "size=4k,mode=0555") != 0) {
      return fail_errno(errno, "--jail: mount an empty tmpfs");
    }
  } else if (::mount(root, root, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return fail_errno(errno, fmt::format("--chroot {}", directory));
  }
  if (::chdir(root) != 0) return fail_errno(errno, fmt::format("--jail: enter {}", root));
  // The old root lands on top of the new one and is taken away from there (pivot_root(2)). The
  // kernel moves every thread that stood in the old root.
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return fail_errno(errno, "--jail: pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return fail_errno(errno, "--jail: let go of the old root");
  if (::chdir("/") != 0) return fail_errno(errno, "--jail: enter the new root");
  if (empty) {
    constexpr unsigned long kFlags = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::mount(nullptr, "/", nullptr, kFlags, nullptr) != 0) {
      return fail_errno(errno, "--jail: make the new root read-only");
    }
  }
  return {};
}

Result<void> change_root_to(const std::string& directory) {
  if (::chroot(directory.c_str()) != 0 || ::chdir("/") != 0) {
    return fail_errno(errno, fmt::format("--chroot {}", directory));
  }
  return {};
}

}  // namespace vmm::sandbox
