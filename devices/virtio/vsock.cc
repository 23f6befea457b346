// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vsock.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "devices/virtio/config_space.h"
#include "devices/virtio/vsock_peer.h"

namespace vmm::virtio {
namespace {

constexpr std::uint16_t kReceiveQueue = 0, kTransmitQueue = 1;  // virtio 1.2, 5.10.2
constexpr std::uint32_t kMaxPayload = 64 << 10;                 // bytes in a packet to the guest
constexpr std::size_t kMaxPieces = 64;                          // guest buffers for one packet
constexpr std::size_t kHeader = sizeof(VsockHeader);

// Where a request of the guest's and one of the host's could not be mixed up in a log.
constexpr std::uint32_t kFirstHostPort = 1u << 30;
constexpr std::uint64_t kFirstId = 16;  // those before are vsock_host.cc's

// The part of `buffers` behind the header, at most `limit` bytes of it.
std::size_t behind_header(std::span<const iovec> buffers, std::uint32_t limit,
                          std::array<iovec, kMaxPieces>& pieces) {
  std::size_t skip = kHeader, nr_pieces = 0;
  for (const iovec& buffer : buffers) {
    const std::size_t skipped = std::min(skip, buffer.iov_len);
    skip -= skipped;
    const std::size_t size = std::min<std::size_t>(buffer.iov_len - skipped, limit);
    if (size == 0) continue;
    pieces[nr_pieces++] = {static_cast<std::byte*>(buffer.iov_base) + skipped, size};
    limit -= static_cast<std::uint32_t>(size);
    if (limit == 0 || nr_pieces == pieces.size()) break;
  }
  return nr_pieces;
}

void put_header(const VsockHeader& header, std::span<const iovec> buffers) {
  copy_to_iovec(std::as_bytes(std::span(&header, 1)), buffers, 0);
}

}  // namespace

Result<std::unique_ptr<Vsock>> Vsock::create(std::uint64_t guest_cid, VsockChannel channel,
                                             EventLoop& loop, const GuestMemory& memory) {
  std::unique_ptr<Vsock> self(new Vsock(guest_cid, std::move(channel), loop, memory));
  self->stop_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!self->stop_fd_) return fail_errno(errno, "eventfd");
  self->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!self->epoll_) return fail_errno(errno, "epoll_create1");
  if (!self->watch(self->stop_fd_.get(), 0, EPOLLIN) ||
      !self->watch(self->channel_.descriptor(), 1, EPOLLIN)) {
    return fail_errno(errno, "epoll_ctl");
  }
  return self;
}

Vsock::Vsock(std::uint64_t guest_cid, VsockChannel channel, EventLoop& loop,
             const GuestMemory& memory)
    : guest_cid_(guest_cid),
      channel_(std::move(channel)),
      loop_(loop),
      next_id_(kFirstId),
      next_host_port_(kFirstHostPort),
      pump_(loop),
      server_(*this, "virtio-vsock", loop, memory) {
}

Vsock::~Vsock() = default;

void Vsock::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const Le64 cid = guest_cid_;
  read_config_of(cid, offset, data);
}

VsockStats Vsock::stats() const {
  auto get = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  return {.open = get(counters_.open),
          .opened = get(counters_.opened),
          .from_guest_bytes = get(counters_.from_guest_bytes),
          .to_guest_bytes = get(counters_.to_guest_bytes)};
}

void Vsock::on_activate(const Activation& /*activation*/) {
  spawn(pump_, run_events());
}

void Vsock::reset(std::function<void()> done) {
  server_.reset([this, done = std::move(done)] { finish(done); });
}

void Vsock::on_stop() {
  stopping_ = true;
  ::eventfd_write(stop_fd_.get(), 1);
  for (std::deque<Waiting>* chains : {&receive_, &transmit_, &event_}) {
    while (!chains->empty()) complete_front(*chains, 0);
  }
  // The host's programs see the end of their connections.
  ready_.clear();
  resets_.clear();
  by_ports_.clear();
  peers_.clear();
  counters_.open.store(0, std::memory_order_relaxed);
  greetings_.clear();
}

internal::Detached Vsock::finish(std::function<void()> done) {
  co_await pump_.close();
  eventfd_t count;
  ::eventfd_read(stop_fd_.get(), &count);
  stopping_ = false;
  pump_.reopen();
  done();  // from here on *this may be gone
}

Task<void> Vsock::serve_chain(QueueServer::Queue& queue, Chain chain) {
  const std::uint16_t index = QueueServer::index_of(queue);
  std::deque<Waiting>& chains =
      index == kReceiveQueue ? receive_ : (index == kTransmitQueue ? transmit_ : event_);
  chains.push_back({queue, std::move(chain)});
  // Events are about migration, which there is none of: their buffers wait for good.
  if (index <= kTransmitQueue) work();
  co_return;
}

void Vsock::complete_front(std::deque<Waiting>& chains, std::uint32_t written) {
  server_.complete(chains.front().queue, chains.front().chain, written);
  chains.pop_front();
}

// Ends: each step uses up a chain.
void Vsock::work() {
  while (give_to_guest() || take_from_guest()) {
  }
}

bool Vsock::take_from_guest() {
  if (transmit_.empty() || resets_.size() >= kMaxResets) return false;
  take(transmit_.front().chain.readable());
  complete_front(transmit_, 0);
  return true;
}

bool Vsock::give_to_guest() {
  while (!receive_.empty()) {
    const std::span<iovec> buffers = receive_.front().chain.writable();
    if (total_size(buffers) < kHeader) {
      warnings_.warn("virtio-vsock: the guest gave a buffer that is too small for a header");
      complete_front(receive_, 0);
      return true;
    }
    if (!resets_.empty()) {
      put_header(resets_.front(), buffers);
      resets_.pop_front();
      complete_front(receive_, kHeader);
      return true;
    }
    if (ready_.empty()) return false;
    const auto found = peers_.find(ready_.front());
    ready_.pop_front();
    if (found == peers_.end()) continue;
    Peer& peer = *found->second;
    peer.scheduled = false;
    const std::uint32_t written = next_packet(peer, buffers);
    // Others have their turn first.
    if (written > 0) schedule(peer);
    forget_if_finished(peer);
    if (written == 0) continue;
    complete_front(receive_, written);
    return true;
  }
  return false;
}

// Gives the packet's size with its header; 0: there is none now.
std::uint32_t Vsock::next_packet(Peer& peer, std::span<const iovec> buffers) {
  std::optional<VsockConnection::Control> control = peer.connection.next_control();
  if (!control) {
    const std::uint32_t written = read_host(peer, buffers);
    if (written > 0) return written;
    control = peer.connection.next_control();  // what reading found out
  }
  if (!control) return 0;
  VsockHeader header = header_to(peer.ports);
  header.op = static_cast<std::uint16_t>(control->op);
  header.flags = control->flags;
  peer.connection.sign(header);
  put_header(header, buffers);
  return kHeader;
}

// The host's bytes, straight into the guest's buffers.
std::uint32_t Vsock::read_host(Peer& peer, std::span<const iovec> buffers) {
  VsockConnection& connection = peer.connection;
  if (!peer.readable || !peer.stream || !connection.open() || connection.host_has_ended()) return 0;
  const std::uint32_t credit = connection.credit();
  if (credit == 0) {
    connection.stalled();
    return 0;
  }
  std::array<iovec, kMaxPieces> pieces;
  const std::size_t nr_pieces = behind_header(buffers, std::min(credit, kMaxPayload), pieces);
  if (nr_pieces == 0) return 0;
  ssize_t got;
  do {
    got = ::readv(peer.stream.get(), pieces.data(), static_cast<int>(nr_pieces));
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) {
    peer.readable = false;
    return 0;
  }
  if (got <= 0) {
    peer.readable = false;
    connection.host_ended();
    if (got < 0 || peer.hung_up) refuse(peer);
    return 0;
  }
  const auto size = static_cast<std::uint32_t>(got);
  connection.sent(size);
  counters_.to_guest_bytes.fetch_add(size, std::memory_order_relaxed);
  VsockHeader header = header_to(peer.ports);
  header.op = static_cast<std::uint16_t>(VsockOp::kRw);
  header.len = size;
  connection.sign(header);
  put_header(header, buffers);
  return static_cast<std::uint32_t>(kHeader) + size;
}

VsockHeader Vsock::header_to(const Ports& ports) const {
  VsockHeader header;
  header.src_cid = kVsockHostCid;
  header.dst_cid = guest_cid_;
  header.src_port = ports.host;
  header.dst_port = ports.guest;
  header.type = kVsockStream;
  return header;
}

void Vsock::take(std::span<const iovec> packet) {
  const std::uint64_t size = total_size(packet);  // guest-controlled
  VsockHeader header;
  if (size < kHeader) {
    warnings_.warn("virtio-vsock: the guest sent {} bytes, less than a header: dropped", size);
    return;
  }
  copy_from_iovec(packet, 0, std::as_writable_bytes(std::span(&header, 1)));
  // Nobody could be told of it: it is not the guest's (virtio 1.2, 5.10.6.4).
  if (header.src_cid != guest_cid_) return;
  const bool is_data = header.op == static_cast<std::uint16_t>(VsockOp::kRw);
  if (is_data && header.len > size - kHeader) {
    warnings_.warn("virtio-vsock: the guest sent a packet that is shorter than it says: dropped");
    return;
  }
  if (header.type != kVsockStream || header.dst_cid != kVsockHostCid) return owe_reset(header);
  if (Peer* peer = find({header.dst_port, header.src_port})) {
    std::vector<iovec> payload;
    if (is_data) append_slice(packet, kHeader, header.len, payload);
    return take_for(*peer, header, payload);
  }
  if (header.op == static_cast<std::uint16_t>(VsockOp::kRequest)) return take_request(header);
  owe_reset(header);
}

void Vsock::take_for(Peer& peer, const VsockHeader& header, std::span<const iovec> payload) {
  using Effect = VsockConnection::Effect;
  switch (peer.connection.receive(header)) {
    case Effect::kData:
      forward(peer, payload);
      break;
    case Effect::kOpened: {
      // A socket that nothing was written to takes this.
      const std::string ok = "OK " + std::to_string(peer.ports.host) + "\n";
      if (::write(peer.stream.get(), ok.data(), ok.size()) != static_cast<ssize_t>(ok.size())) {
        peer.connection.abort();
        hang_up(peer);
      }
      break;
    }
    case Effect::kShutdown:
      break;
    case Effect::kClosed:
      hang_up(peer);
      break;
    case Effect::kNone:
      break;
  }
  settle(peer);
}

void Vsock::take_request(const VsockHeader& header) {
  const Ports ports{header.dst_port, header.src_port};
  if (peers_.size() >= kMaxConnections || !channel_up_) return owe_reset(header);
  const VsockDial dial{.token = next_id_, .port = ports.host};
  if (channel_.send(dial) != 0) return owe_reset(header);
  add_peer(ports, VsockConnection(VsockConnection::Origin::kGuest, header));
}

// A packet that belongs to no connection is answered so (5.10.6.4); an answer is not.
void Vsock::owe_reset(const VsockHeader& to) {
  if (to.op == static_cast<std::uint16_t>(VsockOp::kRst)) return;
  VsockHeader header;
  header.src_cid = to.dst_cid;
  header.dst_cid = guest_cid_;
  header.src_port = to.dst_port;
  header.dst_port = to.src_port;
  header.type = to.type;
  header.op = static_cast<std::uint16_t>(VsockOp::kRst);
  resets_.push_back(header);
}

Vsock::Peer& Vsock::add_peer(const Ports& ports, VsockConnection connection) {
  const Id id = next_id_++;
  auto peer = std::unique_ptr<Peer>(
      new Peer{.id = id, .ports = ports, .connection = connection, .stream = {}, .waiting = {}});
  by_ports_[ports] = peer.get();
  counters_.open.fetch_add(1, std::memory_order_relaxed);
  counters_.opened.fetch_add(1, std::memory_order_relaxed);
  return *(peers_[id] = std::move(peer));
}

Vsock::Peer* Vsock::find(const Ports& ports) {
  const auto found = by_ports_.find(ports);
  return found == by_ports_.end() ? nullptr : found->second;
}

void Vsock::schedule(Peer& peer) {
  if (peer.scheduled) return;
  peer.scheduled = true;
  ready_.push_back(peer.id);
}

void Vsock::hang_up(Peer& peer) {
  peer.waiting = {};
  peer.readable = peer.writable = false;
  peer.stream.reset();
}

void Vsock::forget_if_finished(Peer& peer) {
  if (!peer.connection.finished()) return;
  const Id id = peer.id;
  by_ports_.erase(peer.ports);
  peers_.erase(id);
  counters_.open.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace vmm::virtio
