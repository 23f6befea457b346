// SPDX-License-Identifier: Apache-2.0
// Vsock's other side: the sockets of the host's programs.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "devices/virtio/vsock.h"
#include "devices/virtio/vsock_peer.h"

namespace vmm::virtio {
namespace {

constexpr std::uint64_t kStop = 0, kChannel = 1;  // ids; Vsock::create()
constexpr std::size_t kEvents = 32;               // after which others on the loop have their turn
constexpr std::size_t kMaxGreeting = 32;          // bytes, with the newline
constexpr std::uint32_t kStreamEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

// "CONNECT <port>", decimal.
std::optional<std::uint32_t> parse_greeting(std::string_view line) {
  constexpr std::string_view kWord = "CONNECT ";
  if (!line.starts_with(kWord)) return std::nullopt;
  line.remove_prefix(kWord.size());
  std::uint32_t port = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), port);
  if (error != std::errc() || end != line.data() + line.size()) return std::nullopt;
  return port;
}

}  // namespace

bool Vsock::watch(int fd, Id id, std::uint32_t events) {
  epoll_event event{.events = events, .data = {.u64 = id}};
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

Task<void> Vsock::run_events() {
  std::array<epoll_event, kEvents> events;
  while (!stopping_) {
    co_await loop_.poll(epoll_.get(), POLLIN);
    if (stopping_) break;
    const int nr_events = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
    for (int i = 0; i < nr_events; ++i) {
      on_event(events[static_cast<std::size_t>(i)].data.u64,
               events[static_cast<std::size_t>(i)].events);
    }
    work();
  }
}

void Vsock::on_event(Id id, std::uint32_t events) {
  if (id == kStop) return;
  if (id == kChannel) return take_channel();
  if (const auto greeting = greetings_.find(id); greeting != greetings_.end()) {
    return take_greeting(*greeting->second);
  }
  const auto found = peers_.find(id);
  if (found == peers_.end() || !found->second->stream) return;
  Peer& peer = *found->second;
  if ((events & EPOLLHUP) != 0) peer.hung_up = true;
  if ((events & EPOLLOUT) != 0) peer.writable = true;
  if ((events & ~std::uint32_t{EPOLLOUT}) != 0) peer.readable = true;
  if (peer.hung_up && peer.connection.requested()) {
    peer.connection.abort();
    hang_up(peer);
  }
  flush(peer);
  settle(peer);
}

void Vsock::take_channel() {
  for (std::size_t i = 0; i < kEvents; ++i) {
    VsockChannel::Incoming incoming;
    const int error = channel_.receive(incoming);
    if (error == -EAGAIN) return;
    if (error != 0) return lose_channel(std::strerror(-error));
    on_answer(std::move(incoming));
  }
}

void Vsock::lose_channel(const char* why) {
  channel_up_ = false;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, channel_.descriptor(), nullptr);
  log::warn(
      "virtio-vsock: the process that connects the guest to programs is gone ({}): no new "
      "connections",
      why);
  std::vector<Peer*> dialing;
  for (const auto& [id, peer] : peers_) {
    if (peer->connection.dialing()) dialing.push_back(peer.get());
  }
  for (Peer* peer : dialing) {
    peer->connection.abort();
    settle(*peer);
  }
}

void Vsock::on_answer(VsockChannel::Incoming incoming) {
  const VsockAnswer& answer = incoming.answer;
  if (answer.token == 0) {
    if (incoming.stream) greet(std::move(incoming.stream));
    return;
  }
  const auto found = peers_.find(answer.token);
  if (found == peers_.end() || !found->second->connection.dialing()) return;
  Peer& peer = *found->second;
  peer.stream = std::move(incoming.stream);
  if (answer.error == 0 && watch(peer.stream.get(), peer.id, kStreamEvents)) {
    peer.connection.dialed();
  } else {
    hang_up(peer);
    peer.connection.abort();
  }
  settle(peer);
}

void Vsock::greet(UniqueFd stream) {
  // Whoever says nothing must not keep others out.
  if (greetings_.size() >= kMaxGreetings) greetings_.erase(greetings_.begin());
  const Id id = next_id_++;
  if (!watch(stream.get(), id, kStreamEvents)) return;
  greetings_[id] = std::unique_ptr<Greeting>(new Greeting{id, std::move(stream), {}});
}

// Byte by byte: what follows the line is for the guest.
void Vsock::take_greeting(Greeting& greeting) {
  while (greeting.line.size() < kMaxGreeting) {
    char byte;
    const ssize_t got = ::read(greeting.stream.get(), &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) break;
    if (byte != '\n') {
      greeting.line += byte;
      continue;
    }
    const std::optional<std::uint32_t> port = parse_greeting(greeting.line);
    if (!port) break;
    UniqueFd stream = std::move(greeting.stream);
    greetings_.erase(greeting.id);
    return connect_guest(std::move(stream), *port);
  }
  greetings_.erase(greeting.id);
}

void Vsock::connect_guest(UniqueFd stream, std::uint32_t guest_port) {
  if (peers_.size() >= kMaxConnections) return;
  Ports ports{next_host_port_, guest_port};
  while (find(ports) != nullptr) ++ports.host;  // ends: there are fewer connections than ports
  next_host_port_ = ports.host + 1;
  Peer& peer = add_peer(ports, VsockConnection(VsockConnection::Origin::kHost, VsockHeader{}));
  peer.stream = std::move(stream);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, peer.stream.get(), nullptr);  // as the greeting
  if (!watch(peer.stream.get(), peer.id, kStreamEvents)) peer.connection.abort();
  settle(peer);
}

// The guest's bytes: to the program where it takes them, else to the buffer.
void Vsock::forward(Peer& peer, std::span<const iovec> payload) {
  const std::uint64_t size = total_size(payload);  // within the credit
  counters_.from_guest_bytes.fetch_add(size, std::memory_order_relaxed);
  if (peer.connection.host_takes_nothing()) {
    return peer.connection.forwarded(static_cast<std::uint32_t>(size));
  }
  std::uint64_t put = 0;
  if (peer.writable && peer.waiting.empty() && !payload.empty()) {
    // A payload has few pieces; were they many, the rest would wait its turn.
    const ssize_t written = ::writev(peer.stream.get(), payload.data(),
                                     static_cast<int>(std::min<std::size_t>(payload.size(), 1024)));
    if (written >= 0) {
      put = static_cast<std::uint64_t>(written);
      peer.connection.forwarded(static_cast<std::uint32_t>(put));
    } else if (errno != EAGAIN && errno != EINTR) {
      peer.connection.forwarded(static_cast<std::uint32_t>(size));
      return refuse(peer);
    }
  }
  const std::size_t before = peer.waiting.size();
  peer.waiting.resize(before + (size - put));
  copy_from_iovec(payload, put, std::span(peer.waiting).subspan(before));
  flush(peer);
}

void Vsock::flush(Peer& peer) {
  std::size_t put = 0;
  while (peer.writable && put < peer.waiting.size()) {
    const ssize_t written =
        ::write(peer.stream.get(), peer.waiting.data() + put, peer.waiting.size() - put);
    if (written >= 0) {
      put += static_cast<std::size_t>(written);
    } else if (errno == EAGAIN) {
      peer.writable = false;
    } else if (errno != EINTR) {
      return refuse(peer);
    }
  }
  if (put == 0) return;
  if (put == peer.waiting.size()) {
    peer.waiting = {};
  } else {
    peer.waiting.erase(peer.waiting.begin(), peer.waiting.begin() + static_cast<long>(put));
  }
  peer.connection.forwarded(static_cast<std::uint32_t>(put));
}

// The program takes no more: what the guest sends is dropped from now on.
void Vsock::refuse(Peer& peer) {
  const std::size_t dropped = peer.waiting.size();
  peer.waiting = {};
  peer.connection.host_refuses();
  peer.connection.forwarded(static_cast<std::uint32_t>(dropped));
}

// After anything happened to a connection: tells the program what the guest has ended, and has the
// guest told what it is owed.
void Vsock::settle(Peer& peer) {
  VsockConnection& connection = peer.connection;
  if (peer.stream && connection.guest_ended() && !peer.ended && peer.waiting.empty()) {
    peer.ended = true;
    ::shutdown(peer.stream.get(), SHUT_WR);
  }
  if (peer.stream && connection.guest_refuses() && !peer.ignored) {
    peer.ignored = true;
    ::shutdown(peer.stream.get(), SHUT_RD);
  }
  schedule(peer);
  if (connection.finished()) forget_if_finished(peer);
}

}  // namespace vmm::virtio
