// SPDX-License-Identifier: Apache-2.0
// Net: a virtio network device with one pair of queues (virtio 1.2, 5.1).
//
// Frames are copied once on their way, so that nothing the host does with one touches the guest's
// memory: a reset need not wait for the host. Each direction has one frame in hand: where the guest
// gives no buffers nothing more is taken from the host, and the other way round.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "devices/virtio/device.h"
#include "devices/virtio/net_backend.h"
#include "devices/virtio/queue_server.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

using MacAddress = std::array<std::uint8_t, 6>;

class Net final : public Device, private QueueServer::Handler {
 public:
  // virtio 1.2, 5.1.3.
  static constexpr std::uint64_t kCsum = std::uint64_t{1} << 0;
  static constexpr std::uint64_t kGuestCsum = std::uint64_t{1} << 1;
  static constexpr std::uint64_t kMac = std::uint64_t{1} << 5;
  static constexpr std::uint64_t kGuestTso4 = std::uint64_t{1} << 7;
  static constexpr std::uint64_t kGuestTso6 = std::uint64_t{1} << 8;
  static constexpr std::uint64_t kHostTso4 = std::uint64_t{1} << 11;
  static constexpr std::uint64_t kHostTso6 = std::uint64_t{1} << 12;
  static constexpr std::uint64_t kMergeBuffers = std::uint64_t{1} << 15;
  static constexpr std::uint64_t kStatus = std::uint64_t{1} << 16;

  // The loop and the memory must outlive the device.
  static Result<std::unique_ptr<Net>> create(std::unique_ptr<NetBackend> backend,
                                             const MacAddress& mac, EventLoop& loop,
                                             const GuestMemory& memory);
  ~Net() override;

  DeviceType type() const override { return DeviceType::kNet; }
  std::uint32_t pci_class() const override { return 0x020000; }  // network, Ethernet
  std::uint64_t features() const override;
  std::uint16_t nr_queues() const override { return 2; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return kQueueSize; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override;

 private:
  static constexpr std::uint16_t kQueueSize = 256;

  struct Waiting {
    QueueServer::Queue& queue;
    Chain chain;
  };

  Net(std::unique_ptr<NetBackend> backend, const MacAddress& mac, EventLoop& loop,
      const GuestMemory& memory);
  Result<void> watch(std::uint32_t events, UniqueFd& watch_fd);

  void on_activate(const Activation& activation) override;
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override;
  void on_stop() override;
  internal::Detached finish(std::function<void()> done);

  Task<void> run_receive();
  Task<void> run_transmit();
  // Whether the frame in hand is done with: it is in the guest's buffers, or will never fit.
  bool deliver();
  void give(std::span<const std::byte> bytes, std::size_t nr_chains);
  // 0, or a negative errno of the backend.
  int transmit(Waiting& waiting);
  bool is_good(const NetHeader& header, std::size_t frame_size) const;
  void complete_front(std::deque<Waiting>& chains, std::uint32_t written);
  void unplug(int error);

  const std::unique_ptr<NetBackend> backend_;
  const MacAddress mac_;
  EventLoop& loop_;
  std::atomic<bool> link_up_ = true;

  // What follows is for the loop's thread.
  bool stopping_ = false;
  std::uint64_t driver_features_ = 0;
  Transport* transport_ = nullptr;
  std::size_t receive_queue_size_ = 0;
  std::deque<Waiting> receive_, transmit_;
  WaitQueue receive_arrived_, transmit_arrived_;
  std::vector<std::byte> in_hand_;  // received, not delivered
  std::size_t in_hand_size_ = 0;    // bytes; 0: none
  std::vector<std::byte> out_;
  log::RateLimit warnings_;

  UniqueFd stop_fd_;                         // an eventfd; counts while the device is being stopped
  UniqueFd receive_watch_, transmit_watch_;  // epoll: ready when the backend is, or stop_fd_
  Gate pumps_;                               // run_receive() and run_transmit()
  QueueServer server_;
};

}  // namespace vmm::virtio
