// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/queue_server.h"

#include "devices/testing/device_bench.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::virtio;

namespace {

// Answers each chain `delay` turns after it came, or when it is stopped where `until_stop`.
class SlowDevice final : public Device, private QueueServer::Handler {
 public:
  SlowDevice(EventLoop& loop, const GuestMemory& memory, int delay, bool until_stop)
      : loop_(loop),
        delay_(delay),
        until_stop_(until_stop),
        stopped_(loop),
        server_(*this, "slow", loop, memory) {}

  DeviceType type() const override { return DeviceType::kBlock; }
  std::uint32_t pci_class() const override { return 0x018000; }
  std::uint64_t features() const override { return 0; }
  std::uint16_t nr_queues() const override { return 2; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 16; }
  void read_config(std::uint64_t, std::span<std::byte>) const override {}
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override { server_.activate(std::move(activation)); }
  void reset(std::function<void()> done) override { server_.reset(std::move(done)); }

 private:
  Task<void> serve_chain(QueueServer::Queue& queue, Chain chain) override {
    if (until_stop_ && !server_.stopping()) co_await stopped_.wait();
    for (int i = 0; i < delay_; ++i) co_await loop_.yield();
    server_.complete(queue, chain, 0);
  }
  void on_stop() override { stopped_.notify_all(); }

  EventLoop& loop_;
  const int delay_;
  const bool until_stop_;
  WaitQueue stopped_;
  QueueServer server_;
};

// A driver that resets `turns` turns after it gave the device a chain on each queue.
void reset_after(int turns, int delay, bool until_stop) {
  auto loop = *EventLoop::create();
  testing::DeviceBench bench(*loop);
  SlowDevice device(*loop, bench.memory, delay, until_stop);
  bench.attach(device);
  for (int round = 0; round < 2; ++round) {
    bench.start();
    for (unsigned queue : {0u, 1u}) {
      bench.queue(queue).add({{bench.arena.take(16), 16, false}});
      bench.driver->kick(queue);
    }
    bench.turn(turns);
    bench.driver->set_status(0);
    REQUIRE(bench.wait_for([&] { return bench.driver->status() == 0; }));
    bench.settle();
  }
  bench.stop();
  bench.transport.reset();
}

}  // namespace

TEST_CASE("QueueServer: a reset ends well in whatever turn the last chains are completed",
          "[virtio]") {
  const bool until_stop = GENERATE(false, true);
  for (int turns = 0; turns < 6; ++turns) {
    for (int delay = 0; delay < 6; ++delay) {
      INFO(turns << " turns, delay " << delay);
      reset_after(turns, delay, until_stop);
    }
  }
}
