// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/pci_transport.h"

#include "devices/testing/blk_bench.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::BlkBench;
using testing::GuestArena;
using testing::PciBuses;
using namespace testing;

struct Bench : BlkBench {
  explicit Bench(BlkBenchOptions options = {},
                 std::unique_ptr<EventLoop> own = *EventLoop::create())
      : BlkBench(*own, std::move(options)), loop_owner(std::move(own)) {}
  ~Bench() { stop(); }
  std::unique_ptr<EventLoop> loop_owner;
};

TEST_CASE("PciTransport: a driver recognises a modern virtio block device", "[virtio]") {
  Bench bench;
  CHECK(bench.buses.read_config(1, 0, 4) == 0x10421af4);
  CHECK(bench.buses.read_config(1, 8, 4) == 0x01800001);
  for (unsigned type : {1u, 2u, 3u, 4u, 5u}) {
    INFO("capability of type " << type);
    CHECK(bench.driver->find_capability(0x09, type));
  }
  CHECK((bench.buses.read_config(1, *bench.driver->find_capability(0x11) + 2, 2) & 0x7ff) == 1);
  CHECK(bench.driver->common(kNumQueues, 2) == 1);
}

TEST_CASE("PciTransport: features are taken only with VERSION_1 and only those offered",
          "[virtio]") {
  Bench bench;
  std::uint64_t offered = bench.driver->device_features();
  CHECK((offered & kFeatureVersion1) != 0);
  CHECK(!bench.driver->negotiate(0));
  CHECK(!bench.driver->negotiate(offered | std::uint64_t{1} << 50));
  CHECK(bench.driver->negotiate(kFeatureVersion1));
  // Nothing more can be slipped in.
  bench.driver->set_common(kDriverFeatureSelect, 4, 0);
  bench.driver->set_common(kDriverFeature, 4, 0xffffffff);
  CHECK(bench.driver->common(kDriverFeature, 4) == 0);
  bench.driver->set_common(kDeviceFeatureSelect, 4, 2);
  CHECK(bench.driver->common(kDeviceFeature, 4) == 0);
}

TEST_CASE("PciTransport: DRIVER_OK without FEATURES_OK is not taken", "[virtio]") {
  Bench bench;
  bench.driver->set_status(1 | 2 | 4);
  CHECK(bench.driver->status() == (1 | 2));
  bench.driver->set_status(0);
  CHECK(bench.driver->status() == 0);
}

TEST_CASE("PciTransport: a queue is fixed once it is enabled, and after DRIVER_OK", "[virtio]") {
  BlkBenchOptions options;
  options.blk.nr_queues = 2;
  Bench bench(options);
  REQUIRE(bench.driver->negotiate(kFeatureVersion1));
  QueueDriver queue(bench.memory, bench.arena, 8);
  bench.driver->set_up_queue(0, queue.layout());
  bench.driver->set_common(kQueueSize, 2, 4);
  bench.driver->set_common(kQueueDesc, 4, 0x1234);
  bench.driver->set_common(kQueueEnable, 2, 0);
  CHECK(bench.driver->common(kQueueSize, 2) == 8);
  CHECK(bench.driver->common(kQueueDesc, 8) == queue.layout().descriptors.value);
  CHECK(bench.driver->common(kQueueEnable, 2) == 1);

  bench.driver->driver_ok();
  bench.driver->set_up_queue(1, queue.layout());
  CHECK(bench.driver->common(kQueueEnable, 2) == 0);
  CHECK(bench.driver->common(kQueueSize, 2) == 16);
  CHECK(bench.driver->common(kQueueDesc, 8) == 0);
}

TEST_CASE("PciTransport: absurd queue sizes are not taken", "[virtio]") {
  Bench bench;
  bench.driver->set_common(kQueueSelect, 2, 0);
  for (unsigned size : {0u, 3u, 15u, 32u, 0xffffu}) {
    bench.driver->set_common(kQueueSize, 2, size);
    CHECK(bench.driver->common(kQueueSize, 2) == 16);
  }
  bench.driver->set_common(kQueueSelect, 2, 77);
  CHECK(bench.driver->common(kQueueSize, 2) == 0);
  bench.driver->set_common(kQueueSize, 2, 8);
  bench.driver->set_common(kQueueDesc, 8, 8);
  bench.driver->set_common(kQueueEnable, 2, 1);
  CHECK(bench.driver->common(kQueueEnable, 2) == 0);
}

TEST_CASE("PciTransport: vectors that do not exist read back as none", "[virtio]") {
  Bench bench;
  bench.driver->set_common(kQueueSelect, 2, 0);
  bench.driver->set_common(kQueueMsixVector, 2, 1);
  CHECK(bench.driver->common(kQueueMsixVector, 2) == 1);
  bench.driver->set_common(kQueueMsixVector, 2, 2);
  CHECK(bench.driver->common(kQueueMsixVector, 2) == 0xffff);
  bench.driver->set_common(kConfigMsixVector, 2, 1000);
  CHECK(bench.driver->common(kConfigMsixVector, 2) == 0xffff);
}

TEST_CASE("PciTransport: without vectors a driver polls the ISR, which reading clears",
          "[virtio]") {
  Bench bench;
  REQUIRE(bench.driver->negotiate(kFeatureVersion1));
  bench.queues.push_back(std::make_unique<QueueDriver>(bench.memory, bench.arena, 16));
  bench.driver->set_up_queue(0, bench.queue().layout());
  bench.driver->driver_ok();
  CHECK(bench.buses.read(bench.driver->part(3), 1) == 0);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == 0);
  bench.settle();
  CHECK(bench.buses.read(bench.driver->part(3), 1) == 1);
  CHECK(bench.buses.read(bench.driver->part(3), 1) == 0);
  CHECK(bench.msi.messages[1]->nr_signals == 0);
}

TEST_CASE("PciTransport: a masked vector keeps the completion's interrupt until it is unmasked",
          "[virtio]") {
  Bench bench;
  bench.start();
  bench.driver->set_vector(1, 0xfee00000, 0x41, true);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == 0);
  bench.settle();
  CHECK(bench.msi.messages[1]->nr_signals == 0);
  bench.driver->set_vector(1, 0xfee00000, 0x42, false);
  CHECK(bench.msi.messages[1]->nr_signals == 1);
}

TEST_CASE("PciTransport: kicks are bound from DRIVER_OK to reset, and follow the BAR", "[virtio]") {
  BlkBenchOptions options;
  options.blk.nr_queues = 2;
  Bench bench(options);
  CHECK(bench.kicks.bound().empty());
  bench.start(BlkBench::kAllFeatures | kBlkMultiQueue);
  CHECK(bench.kicks.bound().size() == 2);
  CHECK(bench.kicks.bound().count(GuestAddress(bench.driver->notify_address(1))) == 1);

  std::uint32_t base = bench.buses.read_config(1, 0x10, 4);
  bench.buses.write_config(1, 4, 2, 0);
  CHECK(bench.kicks.bound().empty());
  bench.buses.write_config(1, 0x10, 4, base + 0x80000);
  bench.buses.write_config(1, 4, 2, 6);
  REQUIRE(bench.kicks.bound().size() == 2);
  CHECK(bench.kicks.bound().begin()->first == GuestAddress(base + 0x80000 + PciTransport::kNotify));
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == 0);

  bench.driver->set_status(0);
  CHECK(bench.kicks.bound().empty());
}

TEST_CASE("PciTransport: where a kick cannot be bound, it arrives the slow way", "[virtio]") {
  Bench bench;
  std::uint64_t taken = bench.buses.read_config(1, 0x10, 4) + PciTransport::kNotify;
  REQUIRE(bench.kicks.bind(GuestAddress(taken), -1));
  bench.start();
  CHECK(bench.kicks.bound().size() == 1);
  CHECK(bench.run(bench.command(BlkType::kFlush, 0, 0)) == 0);
}

TEST_CASE("PciTransport: the window in the configuration space reaches BAR 0", "[virtio]") {
  Bench bench;
  unsigned window = *bench.driver->find_capability(0x09, 5);
  auto aim = [&](std::uint32_t offset, std::uint32_t length) {
    bench.buses.write_config(1, window + 4, 1, 0);
    bench.buses.write_config(1, window + 8, 4, offset);
    bench.buses.write_config(1, window + 12, 4, length);
  };
  aim(kNumQueues, 2);
  CHECK(bench.buses.read_config(1, window + 16, 2) == 1);
  aim(kDeviceStatus, 1);
  bench.buses.write_config(1, window + 16, 1, 1);
  CHECK(bench.driver->status() == 1);
  for (auto [offset, length] : {std::pair{0u, 0u},
                                {0u, 3u},
                                {1u, 4u},
                                {0u, 0xffffffffu},
                                {0x7ffeu, 4u},
                                {0x8000u, 1u},
                                {0xfffffffcu, 4u}}) {
    aim(offset, length);
    bench.buses.write_config(1, window + 16, 4, 0xff);
    bench.buses.read_config(1, window + 16, 4);
  }
  CHECK(bench.driver->status() == 1);
}

TEST_CASE("PciTransport: a changed configuration is announced", "[virtio]") {
  Bench bench;
  bench.start();
  std::uint64_t generation = bench.driver->common(kConfigGeneration, 1);
  bench.transport->config_changed();
  CHECK(bench.driver->common(kConfigGeneration, 1) != generation);
  CHECK(bench.msi.messages[0]->nr_signals == 1);
  CHECK(bench.buses.read(bench.driver->part(3), 1) == 2);
}

TEST_CASE("PciTransport: storms of random accesses harm nobody", "[virtio][hostile]") {
  std::uint64_t seed = GENERATE(11, 12, 13, 14);
  auto dice = [&](std::uint64_t sides) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % sides;
  };
  Bench bench;
  for (int i = 0; i < 30000; ++i) {
    auto size = static_cast<unsigned>(1 + dice(8));
    std::uint64_t value = dice(4) == 0 ? dice(~std::uint64_t{0}) : dice(32);
    std::uint64_t base = bench.transport->bar_base(0);
    if (base < PciBuses::kWindow || base - PciBuses::kWindow >= PciBuses::kWindowSize) {
      bench.buses.write_config(1, 0x10, 4, PciBuses::kWindow);
      bench.buses.write_config(1, 4, 2, 2);
      base = PciBuses::kWindow;
    }
    std::uint64_t offset = dice(2) == 0 ? dice(64) : dice(PciTransport::kBarSize);
    if (dice(2) == 0) {
      bench.buses.write(base + offset, size, value);
    } else {
      bench.buses.read(base + offset, size);
    }
    if (dice(8) == 0) {
      auto reg = static_cast<unsigned>(dice(64) * 4);
      bench.buses.write_config(1, reg, 4, static_cast<std::uint32_t>(value));
      bench.buses.read_config(1, reg, 4);
    }
    if (dice(64) == 0) bench.settle();
  }
  SUCCEED("still here");
}

}  // namespace
}  // namespace vmm::virtio
