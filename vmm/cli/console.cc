// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/console.h"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "vmm/cli/command_line.h"
#include "vmm/cli/escape.h"
#include "vmm/cli/steer.h"
#include "vmm/cli/terminal.h"

namespace vmm::cli {
namespace {

constexpr const char* kHelp = "\r\n[Ctrl-a x leaves; Ctrl-a a sends Ctrl-a]\r\n";

enum class End {
  kLeft,    // the user
  kHungUp,  // the machine
};

// This terminal, or whatever stands in its place.
class ConsoleClient {
 public:
  static Result<ConsoleClient> create() {
    VMM_TRY(std::unique_ptr<RawTerminal> terminal, RawTerminal::enter(STDIN_FILENO));
    return ConsoleClient(std::move(terminal));
  }

  // Until the user leaves or the machine hangs up.
  Result<End> carry(const UniqueFd& machine, std::string_view said) {
    VMM_CHECK(show(said));
    while (true) {
      std::array<pollfd, 2> fds = {{
          {machine.get(), static_cast<short>(POLLIN | (typed_.empty() ? 0 : POLLOUT)), 0},
          {input_open_ && typed_.empty() ? STDIN_FILENO : -1, POLLIN, 0},
      }};
      if (::poll(fds.data(), fds.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return fail_errno(errno, "poll");
      }
      if (fds[1].revents != 0 && !read_input()) return End::kLeft;
      if ((fds[0].revents & ~POLLOUT) != 0) {
        VMM_TRY(const bool is_there, show_output(machine));
        if (!is_there) return End::kHungUp;
      }
      if (!typed_.empty() && !send_typed(machine)) return End::kHungUp;
    }
  }

 private:
  explicit ConsoleClient(std::unique_ptr<RawTerminal> terminal) : terminal_(std::move(terminal)) {}

  // False: the user leaves.
  bool read_input() {
    std::array<std::byte, 512> bytes;
    const ssize_t got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (got <= 0) {
      input_open_ = false;
      return true;
    }
    const std::span<const std::byte> typed(bytes.data(), static_cast<std::size_t>(got));
    if (!terminal_) {  // a pipe carries data, not keys
      typed_.assign(typed.begin(), typed.end());
      return true;
    }
    EscapeParser::Parsed parsed = escape_.parse(typed);
    typed_ = std::move(parsed.for_guest);
    if (parsed.help) fmt::print(stderr, "{}", kHelp);
    return !parsed.quit;
  }

  bool send_typed(const UniqueFd& machine) {
    const ssize_t put = ::write(machine.get(), typed_.data(), typed_.size());
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    typed_.erase(typed_.begin(), typed_.begin() + put);
    return true;
  }

  // False: there is no more.
  Result<bool> show_output(const UniqueFd& machine) {
    std::array<char, 4096> bytes;
    const ssize_t got = ::read(machine.get(), bytes.data(), bytes.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) return false;
    VMM_CHECK(show({bytes.data(), static_cast<std::size_t>(got)}));
    return true;
  }

  static Result<void> show(std::string_view text) {
    while (!text.empty()) {
      const ssize_t put = ::write(STDOUT_FILENO, text.data(), text.size());
      if (put < 0 && errno != EINTR) return fail_errno(errno, "standard output");
      if (put > 0) text.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
  }

  std::unique_ptr<RawTerminal> terminal_;
  EscapeParser escape_;
  std::vector<std::byte> typed_;
  bool input_open_ = true;
};

Result<End> look_on(control::Client& machine, const std::string& name, ConsoleClient& console) {
  VMM_TRY([[maybe_unused]] std::string answer,
          ask_machine(machine, name, R"({"command":"console"})"));
  std::string said;
  const UniqueFd connection = machine.take_connection(said);
  return console.carry(connection, said);
}

}  // namespace

Result<int> console_command(const Arguments& arguments) {
  CommandLine app(
      "Shows the console of a running virtual machine here, beginning with the last 64 KiB of what "
      "it said, and hands on what is typed. Ctrl-a x leaves; the machine runs on.");
  std::string name;
  app.add_option("NAME", name, "The virtual machine, as 'vmm list' shows it")->required();
  if (std::optional<int> status = parse(app, arguments)) return *status;
  Result<control::Client> machine = find_machine(name);
  if (!machine) return Unexpected(std::move(machine).error());
  ::signal(SIGPIPE, SIG_IGN);
  VMM_TRY(ConsoleClient console, ConsoleClient::create());
  VMM_TRY(End end, look_on(*machine, name, console));
  // A reboot in place hangs up, and whoever comes again is served by the next boot.
  while (end == End::kHungUp) {
    machine = find_machine(name);
    if (!machine && machine.error().kind() == ErrorKind::kBusy) continue;
    Result<End> next = machine ? look_on(*machine, name, console) : Result<End>(End::kLeft);
    end = next ? *next : End::kLeft;  // it has ended
  }
  return kExitSuccess;
}

}  // namespace vmm::cli
