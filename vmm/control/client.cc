// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/client.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "vmm/control/directory.h"
#include "vmm/control/pass_files.h"
#include "vmm/control/protocol.h"
#include "vmm/core/unix_address.h"

namespace vmm::control {
namespace {

using std::chrono::milliseconds;

// The machine's control thread does nothing else; what takes longest is a pause.
constexpr milliseconds kGreetingTimeout{1000};
constexpr milliseconds kAnswerTimeout{10000};
constexpr std::size_t kMaxAnswer = 1 << 20;

int milliseconds_until(std::chrono::steady_clock::time_point deadline) {
  const auto left =
      std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
}

Unexpected<Error> not_running(const std::string& name) {
  return fail(
      ErrorKind::kNotFound,
      fmt::format("no virtual machine named '{}' runs; 'vmm list' shows those that do", name));
}

}  // namespace

Result<Client> Client::connect_to(const std::string& directory, const std::string& name) {
  VMM_CHECK(check_name(name));
  const std::string path = socket_path(directory, name);
  const Result<sockaddr_un> address = unix_address(path);
  if (!address) return not_running(name);
  Client client(UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), name);
  if (!client.fd_) return fail_errno(errno, "socket");
  if (::connect(client.fd_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) <
      0) {
    if (errno == ECONNREFUSED || errno == ENOENT) return not_running(name);
    if (errno == EAGAIN) {  // its queue of connections is full
      return fail(ErrorKind::kBusy, fmt::format("'{}' does not answer", name));
    }
    return fail_errno(errno, path);
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(client.fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
    client.pid_ = peer.pid;
  }
  VMM_TRY(client.greeting_, client.read_line(std::chrono::steady_clock::now() + kGreetingTimeout));
  return client;
}

Result<void> Client::wait_for(short events, Deadline deadline) {
  pollfd entry{fd_.get(), events, 0};
  int ready;
  do {
    ready = ::poll(&entry, 1, milliseconds_until(deadline));
  } while (ready < 0 && errno == EINTR);
  if (ready > 0) return {};
  if (ready < 0) return fail_errno(errno, "poll");
  return fail(ErrorKind::kBusy,
              fmt::format("'{}' (process {}) does not answer: it boots anew, is stopped, or hangs",
                          name_, pid_));
}

Result<std::string> Client::read_line(Deadline deadline) {
  for (;;) {
    if (const std::size_t end = read_.find('\n'); end != read_.npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    if (read_.size() > kMaxAnswer) {
      return fail(ErrorKind::kInvalid, fmt::format("'{}' sends something endless", name_));
    }
    VMM_CHECK(wait_for(POLLIN, deadline));
    std::array<char, 4096> chunk;
    const ssize_t got = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return not_running(name_);
    read_.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

Result<std::string> Client::ask(std::string_view request, std::span<const UniqueFd> files) {
  const Deadline deadline = std::chrono::steady_clock::now() + kAnswerTimeout;
  const std::string line = fmt::format("{}\n", request);
  if (files.size() > kMaxFiles || (!files.empty() && line.size() > kMaxRequest)) {
    return fail(ErrorKind::kInvalid, "the request is longer than a machine takes");
  }
  std::vector<int> fds;
  for (const UniqueFd& file : files) fds.push_back(file.get());
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t put = send_with_files(fd_.get(), std::string_view(line).substr(sent), fds);
    if (put >= 0) {
      fds.clear();
      sent += static_cast<std::size_t>(put);
    } else if (errno == EAGAIN) {
      VMM_CHECK(wait_for(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return not_running(name_);
    }
  }
  return read_line(deadline);
}

UniqueFd Client::take_connection(std::string& read) {
  read = std::move(read_);
  return std::move(fd_);
}

bool Client::wait_for_end(milliseconds timeout) {
  const Deadline deadline = std::chrono::steady_clock::now() + timeout;
  while (wait_for(POLLIN, deadline)) {
    char dropped[256];
    const ssize_t got = ::recv(fd_.get(), dropped, sizeof dropped, 0);
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) return true;
  }
  return false;
}

}  // namespace vmm::control
