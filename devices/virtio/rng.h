// SPDX-License-Identifier: Apache-2.0
// Rng: an entropy device (virtio 1.2, 5.4): fills the guest's buffers with the host's random bytes.
#pragma once

#include "devices/virtio/device.h"
#include "devices/virtio/queue_server.h"

namespace vmm::virtio {

class Rng final : public Device, private QueueServer::Handler {
 public:
  // Bytes of one chain that are filled; the driver sees by the used length that there were no more.
  static constexpr std::uint32_t kMaxBytes = 4096;

  // Runs on `loop`, which may serve other devices too. Both must outlive the device.
  Rng(EventLoop& loop, const GuestMemory& memory) : server_(*this, "virtio-rng", loop, memory) {}

  DeviceType type() const override { return DeviceType::kEntropy; }
  std::uint32_t pci_class() const override { return 0xff0000; }  // unassigned
  std::uint64_t features() const override { return 0; }
  std::uint16_t nr_queues() const override { return 1; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 8; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override { server_.reset(std::move(done)); }

 private:
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override;

  QueueServer server_;
};

}  // namespace vmm::virtio
