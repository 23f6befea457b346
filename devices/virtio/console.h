// SPDX-License-Identifier: Apache-2.0
// Console: a virtio console with one port (virtio 1.2, 5.3), hvc0 in Linux.
//
// What the guest sends reaches the sink on the loop's thread; what the host types waits in a
// bounded buffer until the guest gives buffers for it.
#pragma once

#include <functional>
#include <mutex>
#include <span>

#include "devices/legacy/serial.h"
#include "devices/virtio/device.h"
#include "devices/virtio/queue_server.h"

namespace vmm::virtio {

class Console final : public Device, private QueueServer::Handler {
 public:
  static constexpr std::size_t kInputBuffer = 4096;  // bytes

  // All must outlive the device. A sink that blocks holds up all that runs on the loop.
  Console(legacy::ConsoleSink& output, EventLoop& loop, const GuestMemory& memory);

  // As Serial's: from any thread; returns how many bytes fitted. Keep the rest until
  // `on_input_room` is called, on the loop's thread, without locks. The loop must outlive the
  // calls.
  std::size_t input(std::span<const std::byte> bytes);
  // Set before vCPUs run.
  void set_on_input_room(std::function<void()> on_input_room) {
    on_input_room_ = std::move(on_input_room);
  }

  DeviceType type() const override { return DeviceType::kConsole; }
  std::uint32_t pci_class() const override { return 0x078000; }  // communication, other
  std::uint64_t features() const override { return 0; }
  std::uint16_t nr_queues() const override { return 2; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 64; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override { server_.reset(std::move(done)); }

 private:
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override;
  void on_stop() override { arrived_.notify_all(); }
  void send(std::span<const iovec> buffers);
  std::uint32_t take_input(std::span<const iovec> buffers);

  legacy::ConsoleSink& output_;
  EventLoop& loop_;
  std::function<void()> on_input_room_;
  WaitQueue arrived_;  // receive chains

  std::mutex mutex_;  // guards what follows
  legacy::ByteFifo<kInputBuffer> waiting_;
  bool input_refused_ = false;

  QueueServer server_;
};

}  // namespace vmm::virtio
