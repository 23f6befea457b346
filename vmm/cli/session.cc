// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <future>
#include <string_view>

#include "vmm/control/server.h"
#include "vmm/machine.h"

namespace vmm::cli {
namespace {

constexpr int kEndingSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

// How long a reader has to take the last output of a run that was ended from outside.
constexpr int kGraceMs = 500;

constexpr std::string_view kHelp =
    "\r\nvmm: Ctrl-a x  ends the virtual machine at once"
    "\r\nvmm: Ctrl-a a  sends Ctrl-a to the guest"
    "\r\nvmm: Ctrl-a ?  shows this help\r\n";

sigset_t session_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (int signal : kEndingSignals) ::sigaddset(&signals, signal);
  ::sigaddset(&signals, SIGTSTP);
  ::sigaddset(&signals, SIGUSR1);
  return signals;
}

// Confined before it listens to anybody.
Result<void> start_control(control::Server& control, const sandbox::SandboxConfig& sandbox) {
  std::promise<Result<void>> confined;
  control.start(
      [&] { confined.set_value(sandbox::confine_thread(sandbox, sandbox::ThreadKind::kControl)); });
  return confined.get_future().get();
}

bool is_readable(const pollfd& entry) {
  return (entry.revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace

Result<std::unique_ptr<Session>> Session::create(int in_fd, int out_fd) {
  sigset_t signals = session_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd) return fail_errno(errno, "signalfd");
  UniqueFd input_room_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!input_room_fd) return fail_errno(errno, "eventfd");
  VMM_TRY(std::unique_ptr<OutputWriter> output, OutputWriter::create(out_fd));
  return std::unique_ptr<Session>(
      new Session(in_fd, std::move(signal_fd), std::move(input_room_fd), std::move(output)));
}

Session::Session(int in_fd, UniqueFd signal_fd, UniqueFd input_room_fd,
                 std::unique_ptr<OutputWriter> output)
    : in_fd_(in_fd),
      signal_fd_(std::move(signal_fd)),
      input_room_fd_(std::move(input_room_fd)),
      output_(std::move(output)) {
}

Session::~Session() = default;

// The console's thread is confined before it writes anything.
Result<void> Session::start_output(const sandbox::SandboxConfig& sandbox) {
  std::promise<Result<void>> confined;
  output_->start(
      [&] { confined.set_value(sandbox::confine_thread(sandbox, sandbox::ThreadKind::kConsole)); });
  return confined.get_future().get();
}

Result<Session::End> Session::run(Machine& machine, control::Server* control,
                                  control::Target& target, const sandbox::SandboxConfig& sandbox) {
  VMM_TRY(terminal_, RawTerminal::enter(in_fd_));
  // A terminal that another job owns is not ours to read from.
  if (!terminal_ && ::isatty(in_fd_) == 1) input_open_ = false;
  machine.set_on_input_room([this] {
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t put = ::write(input_room_fd_.get(), &one, sizeof one);
  });

  sandbox::set_last_words(&RawTerminal::restore_now);
  VMM_CHECK(sandbox::close_doors(sandbox));
  VMM_CHECK(start_output(sandbox));
  if (control != nullptr) {
    VMM_CHECK(start_control(*control, sandbox));
  }
  VMM_CHECK(machine.start());
  if (control != nullptr) control->open(target);
  Result<End> end = wait_for_end(machine);
  if (control != nullptr) control->stop();
  return end;
}

Result<Session::End> Session::wait_for_end(Machine& machine) {
  End end;
  while (!end.by_user && end.signal == 0) {
    bool want_input = input_open_ && pending_.empty();
    std::array<pollfd, 5> fds = {{
        {machine.ended_fd(), POLLIN, 0},
        {signal_fd_.get(), POLLIN, 0},
        {input_room_fd_.get(), POLLIN, 0},
        {want_input ? in_fd_ : -1, POLLIN, 0},
        {machine.waiting_fd(), POLLIN, 0},
    }};
    if (::poll(fds.data(), fds.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "poll");
    }
    if (is_readable(fds[0])) {
      end.by_user = machine.ended_from_outside();
      break;
    }
    if (is_readable(fds[1])) handle_signal(machine, end);
    if (is_readable(fds[2])) pass_input(machine);
    if (is_readable(fds[3])) read_input(machine, end);
    if (is_readable(fds[4])) machine.follow_waiting();
  }
  return end;
}

void Session::read_input(Machine& machine, End& end) {
  std::array<std::byte, 512> typed;
  ssize_t got = ::read(in_fd_, typed.data(), typed.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) {  // the end of a pipe, a closed descriptor: the guest runs on without input
    input_open_ = false;
    return;
  }
  std::span<const std::byte> bytes(typed.data(), static_cast<std::size_t>(got));
  if (!terminal_) {  // a pipe carries data, not keys
    pending_.assign(bytes.begin(), bytes.end());
  } else {
    EscapeParser::Parsed parsed = escape_.parse(bytes);
    pending_ = std::move(parsed.for_guest);
    if (parsed.help) show_help();
    end.by_user = parsed.quit;
  }
  pass_input(machine);
}

void Session::pass_input(Machine& machine) {
  std::uint64_t count;
  [[maybe_unused]] ssize_t got = ::read(input_room_fd_.get(), &count, sizeof count);
  std::size_t taken = machine.input(pending_);
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(taken));
}

void Session::handle_signal(Machine& machine, End& end) {
  signalfd_siginfo info{};
  if (::read(signal_fd_.get(), &info, sizeof info) != sizeof info) return;
  if (info.ssi_signo == SIGUSR1) {
    machine.retry_writes();
    return;
  }
  if (info.ssi_signo != SIGTSTP) {
    end.signal = static_cast<int>(info.ssi_signo);
    return;
  }
  if (terminal_) terminal_->suspend();
  ::kill(::getpid(), SIGSTOP);
  if (terminal_) terminal_->resume();
}

void Session::show_help() {
  output_->write(std::as_bytes(std::span(kHelp)));
}

void Session::drain(const End& end) {
  output_->close();
  int timeout = end.by_user || end.signal != 0 ? kGraceMs : -1;
  std::array<pollfd, 2> fds = {{
      {output_->drained_fd(), POLLIN, 0},
      {signal_fd_.get(), POLLIN, 0},
  }};
  while (::poll(fds.data(), fds.size(), timeout) < 0 && errno == EINTR) {
  }
}

}  // namespace vmm::cli
