// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "vmm/core/vhost_abi.h"
#include "vmm/kvm/abi.h"
#include "vmm/sandbox/own_pid.h"

namespace vmm::sandbox {
namespace {

// The kernel looks at 32 bits of an int argument, whatever the upper half holds.
scmp_arg_cmp int_is(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, 0xffffffffu, value};
}
scmp_arg_cmp bits_clear(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, 0};
}
scmp_arg_cmp bits_set(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, bits};
}

Rule ioctl_of(std::uint64_t request) {
  return {"ioctl", {int_is(1, request)}};
}
Rule fcntl_of(std::uint64_t command) {
  return {"fcntl", {int_is(1, command)}};
}

Rule sigaction_of(std::uint64_t signal) {
  return {"rt_sigaction", {int_is(0, signal)}};
}

using Rules = std::vector<Rule>;

Rules operator+(Rules left, const Rules& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// What the C and C++ run-time libraries need on any thread: memory, locks, its end.
Rules run_time_library() {
  return {
      {"futex"},
      {"sched_yield"},
      {"sched_getaffinity"},  // malloc, before it makes another arena
      {"clock_gettime"},      // where the vDSO cannot answer
      {"clock_nanosleep"},
      {"getpid"},
      {"gettid"},
      {"getrandom"},
      {"restart_syscall"},
      {"rt_sigreturn"},
      {"rt_sigprocmask"},
      // abort() and pthread_kill() signal threads of this process, and of no other.
      {"tgkill", {int_is(0, kOwnPidPlaceholder)}},
      {"brk"},
      // Memory, but nothing that can be executed, and no file.
      {"mmap", {bits_clear(2, PROT_EXEC), bits_set(3, MAP_ANONYMOUS)}},
      {"mprotect", {bits_clear(2, PROT_EXEC)}},
      {"mremap"},  // keeps the protection
      {"madvise"},
      {"munmap"},
      {"read"},
      {"write"},
      {"writev"},  // the last line of a process that glibc aborts: a damaged heap or stack
      {"close"},
      // glibc's fstat(), on the first use of a stdio stream.
      {"fstat"},
      {"newfstatat", {int_is(3, AT_EMPTY_PATH)}},
      {"exit"},
      {"exit_group"},
      // On the way out after a forbidden call the terminal is restored, on whichever thread it was.
      // Streams ask whether they are one.
      ioctl_of(TCGETS),
      ioctl_of(TCSETS),
      ioctl_of(TCSETSW),
      ioctl_of(TCSETSF),
      // A fault restores it too, and then goes back to what the signal did before.
      sigaction_of(SIGSEGV),
      sigaction_of(SIGBUS),
      sigaction_of(SIGILL),
      sigaction_of(SIGFPE),
      sigaction_of(SIGABRT),
  };
}

Rules main_thread() {
  return {
      {"poll"},
      {"ppoll"},
      // Stopping from the terminal (SIGTSTP).
      {"kill", {int_is(0, kOwnPidPlaceholder), int_is(1, SIGSTOP)}},
      ioctl_of(TIOCGWINSZ),
      fcntl_of(F_GETFL),
      fcntl_of(F_SETFL),
      fcntl_of(F_OFD_SETLK),
      {"sendmsg"},  // attached disks, for the next boot
      // Taking the machine apart.
      ioctl_of(KVM_IRQFD),
      ioctl_of(KVM_IOEVENTFD),
      ioctl_of(KVM_SET_GSI_ROUTING),
  };
}

Rules vcpu_thread() {
  return {
      ioctl_of(KVM_RUN),
      // Registers in the message that tells why a vCPU cannot go on.
      ioctl_of(KVM_GET_REGS),
      ioctl_of(KVM_GET_SREGS),
      ioctl_of(KVM_KVMCLOCK_CTRL),  // at the end of a pause
      // A guest programs MSI-X vectors and enables queues.
      ioctl_of(KVM_IRQFD),
      ioctl_of(KVM_IOEVENTFD),
      ioctl_of(KVM_SET_GSI_ROUTING),
  };
}

// What image formats do beside reading and writing.
Rules image_files() {
  return {
      {"ftruncate"},
      {"lseek"},  // SEEK_DATA, SEEK_HOLE
      // What is in the page cache, or only goes there.
      {"preadv2"},
      {"pwritev"},
      // Of a disk that is attached while the machine runs.
      ioctl_of(BLKGETSIZE64),
      fcntl_of(F_OFD_SETLK),
  };
}

// The wait of a request for its turn, where a disk's rates are limited.
Rules rate_limits() {
  return {{"timerfd_settime"}};
}

// What a network device's tap does beside reading and writing, when a driver comes.
Rules tap_device() {
  return {ioctl_of(TUNSETOFFLOAD)};
}

// The ring itself is restricted to a few operations (uring_backend.cc): a filter does not see them.
// io_uring_setup and io_uring_register stay out, or a thread would make itself another one.
Rules io_ring_thread() {
  return image_files() + rate_limits() + tap_device() + Rules{{"io_uring_enter"}};
}

Rules event_loop_on_pool() {
  // What pthread_create() asks for: a thread, never a process. clone3 has its flags in memory,
  // where a filter cannot see them; glibc falls back to clone.
  constexpr std::uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM |
                                         CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS |
                                         CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  return {
      {"poll"},
      {"clone", {{0, SCMP_CMP_EQ, kThreadFlags, 0}}},
      {"clone3", {}, ENOSYS},
      {"set_robust_list"},
      {"rseq"},
  };
}

Rules io_pool_thread() {
  return image_files() + rate_limits() + tap_device() + event_loop_on_pool() +
         Rules{{"preadv"}, {"fdatasync"}, {"fallocate"}};
}

// On a socket that was connected before, to hand on descriptors; answers are waited for. The event
// loop is on a ring or on a pool, whichever it is, and there are no files.
Rules vhost_user_thread() {
  return event_loop_on_pool() + Rules{{"io_uring_enter"}, {"sendmsg"}, {"recvfrom"}, {"shutdown"}};
}

// What a driver sets up, with a file that was opened before; the event loop as above.
Rules vhost_thread() {
  return event_loop_on_pool() + Rules{{"io_uring_enter"},
                                      ioctl_of(VHOST_SET_FEATURES),
                                      ioctl_of(VHOST_SET_MEM_TABLE),
                                      ioctl_of(VHOST_SET_VRING_NUM),
                                      ioctl_of(VHOST_SET_VRING_BASE),
                                      ioctl_of(VHOST_SET_VRING_ADDR),
                                      ioctl_of(VHOST_SET_VRING_KICK),
                                      ioctl_of(VHOST_SET_VRING_CALL),
                                      ioctl_of(VHOST_VSOCK_SET_RUNNING)};
}

// Sockets that another process has made and connected; the event loop as above.
Rules vsock_thread() {
  return event_loop_on_pool() + Rules{{"io_uring_enter"}, {"epoll_ctl"}, {"epoll_wait"},
                                      {"recvmsg"},        {"readv"},     {"shutdown"}};
}

// Sockets that others have connected, on one that was made before. Nothing goes to an address.
Rules control_thread() {
  return {
      {"poll"},
      {"accept4"},
      // The files of a disk to attach, which are also kept for the next boot, or unlocked again.
      {"recvmsg"},
      fcntl_of(F_DUPFD_CLOEXEC),
      fcntl_of(F_OFD_SETLK),
      {"sendto", {{4, SCMP_CMP_EQ, 0, 0}}},
  };
}

// Outside the jail: waits for the one inside, hands on signals, and leaves with its status. kill()
// cannot be narrowed to that one process; what it may signal is limited by its user id.
Rules supervisor() {
  return {{"wait4"}, {"rt_sigtimedwait"}, {"kill"}};
}

// Everything it needs was opened before: the image to read, memfds and a pipe to write.
Rules boot_finder() {
  // The image's lock is its own and is given up at the end.
  return {{"pread64"}, {"preadv"}, {"preadv2"}, {"lseek"}, {"poll"}, fcntl_of(F_OFD_SETLK)};
}

}  // namespace

std::vector<Rule> policy_of(ThreadKind kind) {
  switch (kind) {
    case ThreadKind::kMain:
      return run_time_library() + main_thread();
    case ThreadKind::kVcpu:
      return run_time_library() + vcpu_thread();
    case ThreadKind::kIoRing:
      return run_time_library() + io_ring_thread();
    case ThreadKind::kIoPool:
      return run_time_library() + io_pool_thread();
    case ThreadKind::kVhostUser:
      return run_time_library() + vhost_user_thread();
    case ThreadKind::kVhost:
      return run_time_library() + vhost_thread();
    case ThreadKind::kVsock:
      return run_time_library() + vsock_thread();
    case ThreadKind::kConsole:
      return run_time_library() + Rules{{"poll"}};
    case ThreadKind::kControl:
      return run_time_library() + control_thread();
    case ThreadKind::kBootFinder:
      return run_time_library() + boot_finder();
    case ThreadKind::kSupervisor:
      break;
  }
  return run_time_library() + supervisor();
}

}  // namespace vmm::sandbox
