// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/confined_child.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "vmm/core/unique_fd.h"
#include "vmm/sandbox/filter.h"
#include "vmm/sandbox/privileges.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm::bootfind {
namespace {

using Clock = std::chrono::steady_clock;

// In the child, what fails leaves no way to say why but the exit status.
constexpr int kExitCouldNotStart = 3, kExitCouldNotAnswer = 4;

void need(bool holds) {
  if (!holds) ::_exit(kExitCouldNotStart);
}

void limit(int resource, rlim_t value) {
  const rlimit both{value, value};
  need(::setrlimit(static_cast<__rlimit_resource>(resource), &both) == 0);
}

// Bytes of address space in use.
std::uint64_t address_space() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  unsigned long pages = 0;
  const bool read = file != nullptr && std::fscanf(file, "%lu", &pages) == 1;
  if (file != nullptr) std::fclose(file);
  need(read);
  return std::uint64_t{pages} * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void close_all_but(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned from = 3;
  for (int fd : keep) {
    const auto stays = static_cast<unsigned>(fd);
    if (stays < from) continue;
    if (stays > from) ::close_range(from, stays - 1, 0);
    from = stays + 1;
  }
  ::close_range(from, ~0U, 0);
}

// The sanitizers reserve terabytes of address space, and say what they found on stderr.
void become_nobody_special(const ChildLimits& limits, std::vector<int> keep) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "vmm-bootfind");
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const bool sanitized = !sandbox::has_filters();
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  need(null >= 0);
  for (int fd : {0, 1, 2}) {
    if (fd != 2 || !sanitized) need(::dup2(null, fd) == fd);
  }
  close_all_but(std::move(keep));

  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, limits.file_size);
  // Against a loop that the parent is not there to end.
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(limits.time).count();
  limit(RLIMIT_CPU, static_cast<rlim_t>(seconds) + 1);
  if (!sanitized) limit(RLIMIT_AS, address_space() + limits.memory);
}

Result<void> confine_here() {
  limit(RLIMIT_NPROC, 0);
  VMM_CHECK(sandbox::set_no_new_privileges());
  VMM_CHECK(sandbox::empty_bounding_set());
  VMM_CHECK(sandbox::drop_capabilities());
  // SIGSYS has its default action here: a forbidden call ends the process.
  if (!sandbox::has_filters()) return {};
  return sandbox::install_filter(sandbox::ThreadKind::kBootFinder);
}

[[noreturn]] void run_child(const ChildLimits& limits, std::vector<int> keep, int answer,
                            const ChildWork& work) {
  keep.push_back(answer);
  become_nobody_special(limits, std::move(keep));
  const std::string text = work(confine_here);
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t put = ::write(answer, rest.data(), rest.size());
    if (put < 0) ::_exit(kExitCouldNotAnswer);
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  ::_exit(0);
}

enum class ReadEnd { kComplete, kTooLate, kTooLong };

ReadEnd read_answer(int fd, Clock::time_point deadline, std::size_t limit, std::string& answer) {
  std::vector<char> buffer(64 << 10);
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return ReadEnd::kTooLate;
    pollfd wait{fd, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(left)) <= 0) continue;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ReadEnd::kComplete;
    answer.append(buffer.data(), static_cast<std::size_t>(got));
    if (answer.size() > limit) return ReadEnd::kTooLong;
  }
}

// After its answer, or its time, the child has nothing to do here any more: it is killed. One that
// ended by itself has its status already.
int end_child(pid_t child) {
  ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

std::string describe_death(int status) {
  if (!WIFSIGNALED(status)) return fmt::format("ended with status {}", WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  if (number == SIGSYS) return "was stopped at a system call that it may not make";
  if (number == SIGXCPU) return "used up its CPU time";
  if (number == SIGXFSZ) return "wrote more than it may";
  return fmt::format("crashed (signal {}, {})", number, ::strsignal(number));
}

}  // namespace

Result<std::string> run_confined(const ChildLimits& limits, std::span<const int> keep,
                                 const ChildWork& work) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const Clock::time_point deadline = Clock::now() + limits.time;
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child == 0) run_child(limits, {keep.begin(), keep.end()}, write_end.get(), work);
  write_end.reset();

  std::string answer;
  const ReadEnd end = read_answer(read_end.get(), deadline, limits.answer, answer);
  const int status = end_child(child);
  if (end == ReadEnd::kTooLate) {
    return fail(ErrorKind::kInvalid,
                fmt::format("was not done after {} seconds", limits.time.count() / 1000.0));
  }
  if (end == ReadEnd::kTooLong) return fail(ErrorKind::kInvalid, "gave too long an answer");
  // The end of the pipe may be seen before the child's own exit: killed then, and complete.
  const bool whole = !answer.empty() &&
                     (WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
  if (!whole) return fail(ErrorKind::kInvalid, describe_death(status));
  return answer;
}

}  // namespace vmm::bootfind
