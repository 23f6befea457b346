// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/server.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <span>
#include <utility>

#include "vmm/control/pass_files.h"

namespace vmm::control {
namespace {

constexpr std::chrono::milliseconds kPatience{50};
constexpr int kTypingPause = 10;  // milliseconds

}  // namespace

Result<std::unique_ptr<Server>> Server::create(int listen_fd, std::string version,
                                               std::string name) {
  UniqueFd wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_fd) return fail_errno(errno, "eventfd");
  return std::unique_ptr<Server>(
      new Server(listen_fd, std::move(wake_fd), std::move(version), std::move(name)));
}

Server::Server(int listen_fd, UniqueFd wake_fd, std::string version, std::string name)
    : listen_fd_(listen_fd),
      wake_fd_(std::move(wake_fd)),
      version_(std::move(version)),
      name_(std::move(name)) {
  clients_.reserve(kMaxClients);
}

Server::~Server() {
  stop();
}

void Server::start(std::function<void()> on_begin) {
  // Signals belong to the main thread; a thread inherits the mask it is made under.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, on_begin = std::move(on_begin)] {
    on_begin();
    run();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(thread_.native_handle(), "vmm-control");
}

void Server::open(Target& target) {
  target_.store(&target);
  wake();
}

void Server::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true);
  wake();
  thread_.join();
  clients_.clear();
}

void Server::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = ::write(wake_fd_.get(), &one, sizeof one);
}

void Server::run() {
  while (!stopping_.load()) {
    Target* const target = target_.load();
    std::array<pollfd, kMaxClients + 2> fds;
    fds[0] = {wake_fd_.get(), POLLIN, 0};
    fds[1] = {target != nullptr ? listen_fd_ : -1, POLLIN, 0};
    const std::size_t nr_clients = clients_.size();
    for (std::size_t i = 0; i < nr_clients; ++i) {
      fds[i + 2] = {clients_[i].fd.get(), wanted_events(clients_[i], *target), 0};
    }
    if (::poll(fds.data(), nr_clients + 2, patience()) < 0) continue;  // EINTR
    std::uint64_t count;
    if (fds[0].revents != 0) [[maybe_unused]]
      ssize_t got = ::read(wake_fd_.get(), &count, sizeof count);
    for (std::size_t i = nr_clients; i-- > 0;) {
      Client& client = clients_[i];
      const short events = fds[i + 2].revents;
      if ((events == 0 && !client.console_at) || stopping_.load()) continue;
      const bool stays =
          client.console_at ? serve_console(client, *target, events) : serve(client, *target);
      if (!stays) clients_.erase(clients_.begin() + static_cast<long>(i));
    }
    if (fds[1].revents != 0 && !stopping_.load()) accept_one(*target);
  }
  for (Client& client : clients_) {
    if (client.console_at) say_rest(client, *target_.load());
  }
}

// What a guest says last is what people look for. Who does not read it is not waited for.
void Server::say_rest(Client& client, Target& target) {
  while (send(client) && client.to_send.empty()) {
    client.to_send = target.console().read(*client.console_at, kMaxRequest);
    if (client.to_send.empty()) return;
  }
}

short Server::wanted_events(const Client& client, Target& target) {
  if (!client.console_at) return client.to_send.empty() ? POLLIN : POLLOUT;
  const bool has_more = !client.to_send.empty() || target.console().end() != *client.console_at;
  return static_cast<short>((client.received.empty() ? POLLIN : 0) | (has_more ? POLLOUT : 0));
}

// A guest says when there is room for more, but to the terminal that it was started on.
int Server::patience() const {
  const bool wait = std::any_of(clients_.begin(), clients_.end(), [](const Client& client) {
    return client.console_at && !client.received.empty();
  });
  return wait ? kTypingPause : -1;
}

bool Server::serve_console(Client& client, Target& target, short events) {
  if (events != 0) client.active_at = ++now_;
  if ((events & (POLLERR | POLLHUP)) != 0) return false;
  if ((events & POLLIN) != 0 && !receive(client)) return false;
  client.files.clear();
  if (!client.received.empty()) {
    client.received.erase(0, target.type(std::as_bytes(std::span(client.received))));
  }
  if (client.to_send.empty()) {
    client.to_send = target.console().read(*client.console_at, kMaxRequest);
  }
  return send(client);
}

void Server::accept_one(Target& target) {
  UniqueFd fd(::accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) {
    // It went away again; or descriptors are short, and asking at once again would not help.
    if (errno != EAGAIN && errno != ECONNABORTED) std::this_thread::sleep_for(kPatience);
    return;
  }
  if (clients_.size() == kMaxClients) {
    clients_.erase(std::min_element(
        clients_.begin(), clients_.end(),
        [](const Client& a, const Client& b) { return a.active_at < b.active_at; }));
  }
  clients_.push_back({std::move(fd), "", greeting(version_, name_, target), ++now_, {}, {}});
  if (!send(clients_.back())) clients_.pop_back();
}

bool Server::serve(Client& client, Target& target) {
  client.active_at = ++now_;
  if (client.to_send.empty() && !receive(client)) return false;
  if (!send(client)) return false;
  answer_lines(client, target);
  return client.received.size() <= kMaxRequest && send(client);
}

bool Server::receive(Client& client) {
  std::array<char, kMaxRequest> chunk;
  const ssize_t got = receive_with_files(client.fd.get(), chunk, client.files);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  client.received.append(chunk.data(), static_cast<std::size_t>(got));
  return got > 0 && client.files.size() <= kMaxFiles;
}

// One answer waits at a time: who does not read its answers gets no further ones.
void Server::answer_lines(Client& client, Target& target) {
  std::size_t end;
  while (client.to_send.empty() && !client.console_at && !stopping_.load() &&
         (end = client.received.find('\n')) != std::string::npos) {
    bool console = false;
    client.to_send = answer(std::string_view(client.received).substr(0, end), target,
                            std::exchange(client.files, {}), &console);
    client.received.erase(0, end + 1);
    if (console) {
      client.console_at = 0;
      target.console().set_wake_fd(wake_fd_.get());
    }
    if (!send(client)) return;
  }
}

bool Server::send(Client& client) {
  while (!client.to_send.empty()) {
    const ssize_t put =
        ::send(client.fd.get(), client.to_send.data(), client.to_send.size(), MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    client.to_send.erase(0, static_cast<std::size_t>(put));
  }
  return true;
}

}  // namespace vmm::control
