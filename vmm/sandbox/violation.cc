// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/violation.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "vmm/sandbox/filter.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm::sandbox {
namespace {

std::atomic<void (*)()> last_words = nullptr;
std::atomic_flag someone_is_speaking = ATOMIC_FLAG_INIT;

// A thread without a name has its filter from the thread that made it, and only threads of a thread
// pool are made under one.
constexpr const char* kInherited = "an I/O thread's worker";
thread_local const char* thread_name = kInherited;

// Text for a signal handler: no allocation, no locale, no stdio.
class Line {
 public:
  Line& operator<<(const char* text) {
    while (*text != '\0') put(*text++);
    return *this;
  }
  Line& operator<<(unsigned number) {
    char digits[10];
    std::size_t count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    while (count > 0) put(digits[--count]);
    return *this;
  }
  void write_to(int fd) const { [[maybe_unused]] ssize_t put = ::write(fd, text_, length_); }

 private:
  void put(char letter) {
    if (length_ < sizeof text_) text_[length_++] = letter;
  }

  char text_[256];
  std::size_t length_ = 0;
};

void on_violation(int, siginfo_t* info, void*) {
  // Others that get here at the same time wait for the end.
  while (someone_is_speaking.test_and_set()) ::sched_yield();
  if (void (*restore)() = last_words.load()) restore();
  Line line;
  line << "vmm: error: the sandbox stopped " << thread_name << " at the system call "
       << call_name(info->si_syscall) << " (" << static_cast<unsigned>(info->si_syscall)
       << ") and ends the VM: an attack, or a bug to report\r\n";
  line.write_to(STDERR_FILENO);
  ::_exit(kExitForbiddenCall);
}

}  // namespace

Result<void> install_violation_handler() {
  struct sigaction action {};
  action.sa_sigaction = on_violation;
  action.sa_flags = SA_SIGINFO;
  ::sigfillset(&action.sa_mask);
  if (::sigaction(SIGSYS, &action, nullptr) != 0) return fail_errno(errno, "sandbox: sigaction");
  return {};
}

void prepare_for_violations(ThreadKind kind) {
  thread_name = thread_kind_name(kind);
  // A blocked SIGSYS would end the process without a word.
  sigset_t violation;
  ::sigemptyset(&violation);
  ::sigaddset(&violation, SIGSYS);
  ::pthread_sigmask(SIG_UNBLOCK, &violation, nullptr);
}

void set_last_words(void (*words)()) {
  last_words.store(words);
}

}  // namespace vmm::sandbox
