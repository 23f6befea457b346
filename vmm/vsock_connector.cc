// SPDX-License-Identifier: Apache-2.0
#include "vmm/vsock_connector.h"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>

#include "vmm/core/unique_fd.h"
#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

using virtio::VsockAnswer;
using virtio::VsockChannel;
using virtio::VsockDial;

class Connector {
 public:
  Connector(int channel, int listener, std::string path)
      : channel_(channel), listener_(listener), path_(std::move(path)) {}

  [[noreturn]] void run() {
    while (true) {
      std::array<pollfd, 2> fds = {{{channel_, POLLIN, 0}, {listener_, POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) ::_exit(1);
      if (fds[0].revents != 0) take_dial();
      if (fds[1].revents != 0) accept();
    }
  }

 private:
  void take_dial() {
    VsockDial dial;
    const ssize_t got = ::read(channel_, &dial, sizeof dial);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got != sizeof dial || dial.token == 0) ::_exit(0);
    UniqueFd stream;
    const int error = connect(dial.port, stream);
    answer({.token = dial.token, .error = error}, stream.get());
  }

  // Never waits: a program whose backlog is full refuses.
  int connect(std::uint32_t port, UniqueFd& stream) const {
    const Result<sockaddr_un> address = unix_address(vsock_port_path(path_, port));
    if (!address) return ENAMETOOLONG;
    UniqueFd made(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made) return errno;
    if (::connect(made.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
      return errno;
    }
    stream = std::move(made);
    return 0;
  }

  void accept() {
    const UniqueFd stream(::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (stream) answer({.token = 0, .error = 0}, stream.get());
  }

  // Waits for the machine: until it has taken what is under way nobody else is taken in.
  void answer(const VsockAnswer& answer, int stream) {
    while (true) {
      const int sent = VsockChannel::answer(channel_, answer, stream);
      if (sent == 0) return;
      if (sent == -ETOOMANYREFS && stream >= 0) {
        stream = -1;
        continue;
      }
      if (sent != -EAGAIN) ::_exit(0);
      pollfd room{channel_, POLLOUT, 0};
      ::poll(&room, 1, -1);
    }
  }

  const int channel_, listener_;
  const std::string path_;
};

}  // namespace

std::string vsock_port_path(const std::string& path, std::uint32_t port) {
  return fmt::format("{}_{}", path, port);
}

Result<void> check_vsock(const MachineConfig::Vsock& vsock) {
  if (vsock.path.empty()) return {};
  // The longest name of all: that of the last port's.
  Result<sockaddr_un> longest =
      unix_address(vsock_port_path(vsock.path, std::numeric_limits<std::uint32_t>::max()));
  if (!longest) return Unexpected(std::move(longest).error().with_context("--vsock"));
  Result<void> free = SocketFile::check(vsock.path);
  if (!free) return Unexpected(std::move(free).error().with_context("--vsock"));
  return {};
}

Result<SocketFile> open_vsock(const MachineConfig::Vsock& vsock) {
  VMM_CHECK(check_vsock(vsock));
  Result<SocketFile> file = SocketFile::create(vsock.path);
  if (!file) return Unexpected(std::move(file).error().with_context("--vsock"));
  VMM_CHECK(file->remove_at_end());
  return file;
}

Result<VsockChannel> start_vsock_connector(int listen_fd, const std::string& path) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return fail_errno(errno, "--vsock: socketpair");
  }
  UniqueFd own(ends[0]), other(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "--vsock: fork");
  if (child > 0) return VsockChannel(std::move(own));
  // Signals to the process group are for the machine.
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_NAME, "vmm-vsock");
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  close_all_but(other.get(), listen_fd);
  Connector(other.get(), listen_fd, path).run();
}

}  // namespace vmm
