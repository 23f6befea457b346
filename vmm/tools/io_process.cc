// SPDX-License-Identifier: Apache-2.0
// The commands that are about the shell itself.
#include <fmt/core.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "vmm/core/unique_fd.h"
#include "vmm/tools/io_transfer.h"

namespace vmm::tools {

namespace io_commands_impl {

bool help(IoShell& shell, const IoCommand&, const IoWords& words) {
  std::FILE* out = shell.console().out;
  if (words.size() == 1) {
    for (const IoCommand& each : io_commands()) print_usage(out, each);
    fmt::print(out, "\nUse 'help commandname' for extended help.\n");
    return true;
  }
  const IoCommand* wanted = find_io_command(words[1]);
  if (wanted == nullptr) {
    fmt::print(out, "command {} not found\n", words[1]);
    return false;
  }
  print_usage(out, *wanted);
  if (wanted->help != nullptr) fmt::print(out, "{}", wanted->help);
  return true;
}

bool quit(IoShell& shell, const IoCommand&, const IoWords&) {
  shell.quit();
  return true;
}

// What is under way goes on meanwhile.
bool sleep(IoShell& shell, const IoCommand&, const IoWords& words) {
  char* end = nullptr;
  errno = 0;
  const long milliseconds = std::strtol(words[1].c_str(), &end, 0);
  if (end == words[1].c_str() || *end != '\0' || errno != 0 || milliseconds < 0) {
    fmt::print(shell.console().out, "{} is not a valid number\n", words[1]);
    return false;
  }
  if (milliseconds == 0) return true;
  const UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  const itimerspec once{.it_interval = {},
                        .it_value = {milliseconds / 1000, milliseconds % 1000 * 1'000'000}};
  if (!timer || timerfd_settime(timer.get(), 0, &once, nullptr) != 0) {
    shell.console().error("sleep: {}", std::strerror(errno));
    return false;
  }
  const auto fired = [](EventLoop& loop, int fd) -> Task<std::int64_t> {
    co_return co_await loop.next_event(fd);
  };
  return shell.wait(fired(shell.loop(), timer.get())) > 0;
}

bool sigraise(IoShell& shell, const IoCommand&, const IoWords& words) {
  const auto number = read_number(shell.console().out, words[1]);
  if (!number) return false;
  // The signal may end the process without another word.
  std::fflush(nullptr);
  std::raise(static_cast<int>(*number));
  return true;
}

bool abort(IoShell&, const IoCommand&, const IoWords&) {
  std::abort();
}

}  // namespace io_commands_impl
}  // namespace vmm::tools
