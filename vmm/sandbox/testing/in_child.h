// SPDX-License-Identifier: Apache-2.0
// Runs a function in a child process, because a sandbox cannot be taken off again.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

namespace vmm::sandbox::testing {

struct Outcome {
  int status = 0;      // exit status, or 128 + the signal that ended it
  std::string output;  // of stderr
};

inline constexpr int kSurvived = 42;  // the exit status of a child whose function came back
inline constexpr int kRefused = 43;   // for the function: the sandbox could not be put on

inline Outcome in_child(const std::function<void()>& scenario) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {-1, "pipe"};
  pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);  // not the test's
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[1]);
    scenario();
    ::_exit(kSurvived);
  }
  ::close(ends[1]);
  Outcome outcome;
  char buffer[512];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    outcome.output.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace vmm::sandbox::testing
