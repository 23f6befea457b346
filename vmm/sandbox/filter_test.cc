// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/filter.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "vmm/core/log.h"
#include "vmm/core/testing/catch.h"
#include "vmm/core/vhost_abi.h"
#include "vmm/io/event_loop.h"
#include "vmm/kvm/abi.h"
#include "vmm/sandbox/testing/confined.h"
#include "vmm/sandbox/testing/in_child.h"

namespace vmm::sandbox {
namespace {

using testing::act_confined;
using testing::in_child;
using testing::Outcome;

struct Attempt {
  const char* call;  // as the message names it
  void (*make)();
};

// What an intruder would try first. Forbidden on every thread.
const Attempt kAttempts[] = {
    {"execve", [] { ::execl("/bin/true", "true", nullptr); }},
    {"openat", [] { ::open("/etc/passwd", O_RDONLY); }},
    {"socket", [] { ::socket(AF_INET, SOCK_STREAM, 0); }},
    {"socket", [] { ::socket(AF_UNIX, SOCK_STREAM, 0); }},
    {"clone", [] { ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
    {"vfork", [] { ::syscall(SYS_vfork); }},
    {"ptrace", [] { ::ptrace(PTRACE_ATTACH, 1, nullptr, nullptr); }},
    {"process_vm_readv", [] { ::syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0); }},
    {"tgkill", [] { ::syscall(SYS_tgkill, 1, 1, SIGKILL); }},
    {"kill", [] { ::kill(1, 0); }},
    {"prctl", [] { ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }},
    {"setuid", [] { ::syscall(SYS_setuid, 0); }},
    {"unshare", [] { ::unshare(CLONE_NEWUSER); }},
    {"bpf", [] { ::syscall(SYS_bpf, 0, nullptr, 0); }},
    {"io_uring_setup", [] { ::syscall(SYS_io_uring_setup, 8, nullptr); }},
    {"io_uring_register", [] { ::syscall(SYS_io_uring_register, 0, 0, nullptr, 0); }},
    {"rt_sigaction", [] { ::signal(SIGSYS, SIG_IGN); }},
    {"ioctl",
     [] {
       char byte = 'x';
       ::ioctl(0, TIOCSTI, &byte);
     }},
    {"ioctl", [] { ::ioctl(0, KVM_CREATE_VM, 0); }},
    {"ioctl", [] { ::ioctl(0, KVM_SET_USER_MEMORY_REGION, nullptr); }},
    {"mmap",
     [] { ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
    {"mmap", [] { ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, 0, 0); }},
    {"mprotect", [] { ::mprotect(nullptr, 4096, PROT_READ | PROT_EXEC); }},
    {"pkey_mprotect", [] { ::syscall(SYS_pkey_mprotect, 0, 4096, PROT_EXEC, 0); }},
};

// Forbidden on some threads only. (std::thread blocks SIGSYS while it clones: no message then.)
constexpr unsigned long kThreadFlags = 0x3d0f00;  // as glibc makes threads
const Attempt kRunGuest{"ioctl", [] { ::ioctl(0, KVM_RUN, 0); }};
const Attempt kSetRings{"ioctl", [] { ::ioctl(0, VHOST_SET_VRING_ADDR, 0); }};
const Attempt kMakeThread{"clone", [] { ::syscall(SYS_clone, kThreadFlags, 0, 0, 0, 0); }};
const Attempt kSeek{"lseek", [] { ::lseek(0, 0, SEEK_DATA); }};
const Attempt kAccept{"accept4", [] { ::accept4(0, nullptr, nullptr, 0); }};
const Attempt kSendTo{"sendto", [] {
                        sockaddr_un address{};
                        ::sendto(0, "x", 1, 0, reinterpret_cast<sockaddr*>(&address), 8);
                      }};
const Attempt kEnterRing{"io_uring_enter", [] { ::syscall(SYS_io_uring_enter, 0, 0, 0, 0, 0, 0); }};

const ThreadKind kKinds[] = {ThreadKind::kMain,       ThreadKind::kVcpu,    ThreadKind::kIoRing,
                             ThreadKind::kIoPool,     ThreadKind::kConsole, ThreadKind::kSupervisor,
                             ThreadKind::kBootFinder, ThreadKind::kControl, ThreadKind::kVhostUser,
                             ThreadKind::kVhost,      ThreadKind::kVsock};

bool io_uring_allowed() {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  return loop->prepare_to_confine();
}

bool skip(ThreadKind kind) {
  if (kind != ThreadKind::kIoRing || io_uring_allowed()) return false;
  WARN("io_uring is not allowed here: its threads are not tested");
  return true;
}

void check_stopped(ThreadKind kind, const Attempt& attempt) {
  INFO(thread_kind_name(kind) << ": " << attempt.call);
  Outcome outcome = in_child([&] { act_confined(kind, attempt.make); });
  INFO(outcome.output);
  CHECK(outcome.status == kExitForbiddenCall);
  const std::string expected = std::string("stopped ") + thread_kind_name(kind) +
                               " at the system call " + attempt.call + " (";
  CHECK(outcome.output.find(expected) != std::string::npos);
  CHECK(std::count(outcome.output.begin(), outcome.output.end(), '\n') == 1);
}

TEST_CASE("A forbidden system call ends the VM with a line that names it and its thread",
          "[sandbox]") {
  for (ThreadKind kind : kKinds) {
    if (skip(kind)) continue;
    for (const Attempt& attempt : kAttempts) {
      if (kind == ThreadKind::kSupervisor && std::string(attempt.call) == "kill") continue;
      check_stopped(kind, attempt);
    }
  }
}

TEST_CASE("Each kind of thread may do its own work and not the others'", "[sandbox]") {
  for (ThreadKind kind : kKinds) {
    if (skip(kind)) continue;
    if (kind != ThreadKind::kVcpu) check_stopped(kind, kRunGuest);
    if (kind != ThreadKind::kVhost) check_stopped(kind, kSetRings);
    const bool on_either =
        kind == ThreadKind::kVhostUser || kind == ThreadKind::kVhost || kind == ThreadKind::kVsock;
    if (kind != ThreadKind::kIoPool && !on_either) check_stopped(kind, kMakeThread);
    if (kind != ThreadKind::kIoRing && !on_either) check_stopped(kind, kEnterRing);
    if (kind != ThreadKind::kControl) check_stopped(kind, kAccept);
    check_stopped(kind, kSendTo);
    const bool reads_images = kind == ThreadKind::kIoRing || kind == ThreadKind::kIoPool ||
                              kind == ThreadKind::kBootFinder;
    if (!reads_images) check_stopped(kind, kSeek);
  }
}

TEST_CASE("A vCPU thread may run its guest and program what the guest programs", "[sandbox]") {
  Outcome outcome = in_child([] {
    act_confined(ThreadKind::kVcpu, [] {
      for (unsigned long request :
           {std::uint64_t{KVM_RUN}, std::uint64_t{KVM_GET_REGS}, std::uint64_t{KVM_SET_GSI_ROUTING},
            std::uint64_t{KVM_IRQFD}, std::uint64_t{KVM_IOEVENTFD},
            std::uint64_t{KVM_KVMCLOCK_CTRL}}) {
        if (::ioctl(-1, request, nullptr) != -1 || errno != EBADF) ::_exit(testing::kRefused);
      }
    });
  });
  INFO(outcome.output);
  CHECK(outcome.status == testing::kSurvived);
}

// The C library says so on stderr before it aborts.
void damage_the_heap() {
  alignas(16) static char not_from_malloc[64];
  char* volatile pointer = not_from_malloc + 8;
  std::free(pointer);
}

TEST_CASE("Allocating, logging, locking, sleeping and failing an assert stay possible",
          "[sandbox]") {
  for (ThreadKind kind : kKinds) {
    if (skip(kind)) continue;
    INFO(thread_kind_name(kind));
    Outcome outcome = in_child([&] {
      act_confined(kind, [] {
        std::vector<std::string> blocks;
        for (std::size_t size = 1; size < 64 << 20; size *= 4) blocks.emplace_back(size, 'x');
        blocks[3].resize(32 << 20);
        blocks.clear();
        log::warn("a line for the user");
        std::this_thread::sleep_for(std::chrono::microseconds(1));
        std::this_thread::yield();
      });
    });
    INFO(outcome.output);
    CHECK(outcome.status == testing::kSurvived);
    CHECK(outcome.output.find("a line for the user") != std::string::npos);

    outcome = in_child([&] { act_confined(kind, [] { std::abort(); }); });
    INFO(outcome.output);
    CHECK(outcome.status == 128 + SIGABRT);

    outcome = in_child([&] { act_confined(kind, &damage_the_heap); });
    INFO(outcome.output);
    CHECK(outcome.status == 128 + SIGABRT);
  }
}

TEST_CASE("A thread of the pool is as confined as the thread that made it", "[sandbox]") {
  Outcome outcome = in_child([] {
    act_confined(ThreadKind::kIoPool,
                 [] { std::thread([] { ::socket(AF_INET, SOCK_STREAM, 0); }).join(); });
  });
  INFO(outcome.output);
  CHECK(outcome.status == kExitForbiddenCall);
  CHECK(outcome.output.find("stopped an I/O thread's worker at the system call socket (") !=
        std::string::npos);
}

TEST_CASE("The terminal is restored before a forbidden call ends the VM", "[sandbox]") {
  for (ThreadKind kind : kKinds) {
    if (skip(kind)) continue;
    INFO(thread_kind_name(kind));
    Outcome outcome = in_child([&] {
      set_last_words([] {
        termios modes{};
        ::tcsetattr(0, TCSADRAIN, &modes);  // allowed, terminal or not
        [[maybe_unused]] ssize_t put = ::write(STDERR_FILENO, "restored, ", 10);
      });
      act_confined(kind, [] { ::socket(AF_INET, SOCK_STREAM, 0); });
    });
    CHECK(outcome.status == kExitForbiddenCall);
    CHECK(outcome.output.rfind("restored, vmm: error: the sandbox stopped", 0) == 0);
  }
}

TEST_CASE("A 32-bit system call ends the process", "[sandbox]") {
  auto call = [] {
    long number = 20;  // getpid; allowed under its 64-bit number
    asm volatile("int $0x80" : "+a"(number) : : "memory");
  };
  Outcome outcome = in_child([&] { act_confined(ThreadKind::kVcpu, call); });
  // Kernels without such calls (CONFIG_IA32_EMULATION) end the process themselves.
  const bool offered = in_child(call).status == 0;
  CHECK(outcome.status == 128 + (offered ? SIGSYS : SIGSEGV));
}

TEST_CASE("Without the sandbox nothing is forbidden, and a warning says so", "[sandbox]") {
  Outcome outcome = in_child([] {
    SandboxConfig off;
    off.enabled = false;
    if (!enter(off) || !close_doors(off) || !confine_thread(off, ThreadKind::kMain)) {
      ::_exit(testing::kRefused);
    }
    if (::socket(AF_UNIX, SOCK_STREAM, 0) < 0) ::_exit(testing::kRefused);
  });
  CHECK(outcome.status == testing::kSurvived);
  CHECK(outcome.output.find("--no-sandbox") != std::string::npos);
}

}  // namespace
}  // namespace vmm::sandbox
