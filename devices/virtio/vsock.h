// SPDX-License-Identifier: Apache-2.0
// Vsock: a virtio socket device (virtio 1.2, 5.10) whose host side is Unix sockets, as Firecracker
// has it: a program of the host's says "CONNECT <port>\n" and reads "OK <port>\n"; a guest that
// connects to port P of CID 2 gets what VsockChannel has for P.
//
// Nothing here waits for one side on behalf of the other: what the host does not take waits in a
// buffer that the guest's credit limits, what the guest does not take stays in the host's socket.
// The number of connections is limited, and so is what the guest is owed: while too many of its
// packets have an RST to come, no more are taken.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "devices/virtio/device.h"
#include "devices/virtio/queue_server.h"
#include "devices/virtio/vsock_channel.h"
#include "devices/virtio/vsock_connection.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

struct VsockStats {
  std::uint64_t open = 0;    // connections there are now, those that are still asked for included
  std::uint64_t opened = 0;  // and all there have been
  std::uint64_t from_guest_bytes = 0;
  std::uint64_t to_guest_bytes = 0;
};

class Vsock final : public Device, private QueueServer::Handler {
 public:
  static constexpr std::size_t kMaxConnections = 256;
  static constexpr std::size_t kMaxGreetings = 32;    // programs that have not said CONNECT yet
  static constexpr std::size_t kMaxResets = 128;      // owed for packets of no connection
  static constexpr std::uint64_t kStreamFeature = 1;  // VIRTIO_VSOCK_F_STREAM

  // The loop and the memory must outlive the device.
  static Result<std::unique_ptr<Vsock>> create(std::uint64_t guest_cid, VsockChannel channel,
                                               EventLoop& loop, const GuestMemory& memory);
  ~Vsock() override;

  DeviceType type() const override { return DeviceType::kVsock; }
  std::uint32_t pci_class() const override { return 0x078000; }  // communication, other
  std::uint64_t features() const override { return kStreamFeature; }
  std::uint16_t nr_queues() const override { return 3; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 256; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override;

  VsockStats stats() const;  // from any thread

 private:
  // Written on the loop's thread alone.
  struct Counters {
    std::atomic<std::uint64_t> open = 0, opened = 0, from_guest_bytes = 0, to_guest_bytes = 0;
  };
  using Id = std::uint64_t;  // of a socket; never used twice
  struct Ports {
    std::uint32_t host = 0, guest = 0;
    auto operator<=>(const Ports&) const = default;
  };
  struct Waiting {
    QueueServer::Queue& queue;
    Chain chain;
  };
  struct Greeting;
  struct Peer;

  Vsock(std::uint64_t guest_cid, VsockChannel channel, EventLoop& loop, const GuestMemory& memory);

  void on_activate(const Activation& activation) override;
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override;
  void on_stop() override;
  internal::Detached finish(std::function<void()> done);
  void complete_front(std::deque<Waiting>& chains, std::uint32_t written);

  // The guest's side (vsock.cc).
  void work();
  bool take_from_guest();
  bool give_to_guest();
  void take(std::span<const iovec> packet);
  void take_for(Peer& peer, const VsockHeader& header, std::span<const iovec> payload);
  void take_request(const VsockHeader& header);
  void owe_reset(const VsockHeader& to);
  VsockHeader header_to(const Ports& ports) const;
  std::uint32_t next_packet(Peer& peer, std::span<const iovec> buffers);
  std::uint32_t read_host(Peer& peer, std::span<const iovec> buffers);

  // The host's side (vsock_host.cc).
  Task<void> run_events();
  void on_event(Id id, std::uint32_t events);
  bool watch(int fd, Id id, std::uint32_t events);
  void take_channel();
  void on_answer(VsockChannel::Incoming incoming);
  void greet(UniqueFd stream);
  void take_greeting(Greeting& greeting);
  void connect_guest(UniqueFd stream, std::uint32_t guest_port);
  void forward(Peer& peer, std::span<const iovec> payload);
  void flush(Peer& peer);
  void refuse(Peer& peer);
  void settle(Peer& peer);
  void lose_channel(const char* why);

  Peer& add_peer(const Ports& ports, VsockConnection connection);
  Peer* find(const Ports& ports);
  void schedule(Peer& peer);
  void hang_up(Peer& peer);
  void forget_if_finished(Peer& peer);

  const std::uint64_t guest_cid_;
  VsockChannel channel_;
  EventLoop& loop_;

  // What follows is for the loop's thread.
  bool stopping_ = false;
  bool channel_up_ = true;
  std::deque<Waiting> receive_, transmit_, event_;
  std::deque<VsockHeader> resets_;
  std::unordered_map<Id, std::unique_ptr<Peer>> peers_;
  std::map<Ports, Peer*> by_ports_;
  std::map<Id, std::unique_ptr<Greeting>> greetings_;  // the oldest first
  std::deque<Id> ready_;  // peers that may have something for the guest; each once
  Id next_id_;
  std::uint32_t next_host_port_;
  log::RateLimit warnings_;
  Counters counters_;

  UniqueFd stop_fd_;  // an eventfd; counts while the device is being stopped
  UniqueFd epoll_;
  Gate pump_;  // run_events()
  QueueServer server_;
};

}  // namespace vmm::virtio
