// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/mmio_transport.h"

#include <atomic>
#include <thread>

#include "devices/testing/memory_disk.h"
#include "devices/testing/mmio_driver.h"
#include "devices/testing/queue_driver.h"
#include "devices/virtio/blk.h"
#include "vmm/core/log.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using namespace testing;

constexpr std::uint64_t kAddress = 0xfeb00000;
constexpr std::uint64_t kMemory = 1 << 20;
constexpr std::uint8_t kNoAnswer = 0xee;

GuestMemory make_memory() {
  const GuestMemory::Range range{GuestAddress(0), kMemory};
  return *GuestMemory::create(std::span(&range, 1));
}

// A virtio-blk device on a memory disk, whose loop only turns where a test says so.
struct Bench {
  explicit Bench(std::uint16_t nr_queues = 1, bool ioeventfd = true,
                 std::chrono::milliseconds reset_patience = std::chrono::milliseconds(0))
      : blk({.name = "test.img", .id = "disk-0001", .nr_queues = nr_queues, .queue_size = 16}, disk,
            *loop, memory, *Throttle::make_timer()),
        transport(*MmioTransport::create(blk, line, ioeventfd ? &kicks : nullptr,
                                         GuestAddress(kAddress), reset_patience)),
        driver(bus, kAddress, ioeventfd ? &kicks : nullptr) {
    log::set_level(log::Level::kError);
    REQUIRE(bus.insert(kAddress, MmioTransport::kSize, *transport));
  }
  ~Bench() {
    disk.release();
    std::atomic<bool> stopped = false;
    std::thread stopper([&] {
      transport->stop();
      stopped = true;
    });
    while (!stopped) turn(1);
    stopper.join();
  }

  void turn(int nr_turns) { loop->run_until(turns(*loop, nr_turns)); }
  static Task<bool> turns(EventLoop& loop, int nr_turns) {
    for (int i = 0; i < nr_turns; ++i) co_await loop.yield();
    co_return true;
  }
  template <class Condition>
  bool wait_for(Condition condition) {
    for (int i = 0; i < 200000 && !condition(); ++i) turn(1);
    return condition();
  }

  void start(std::uint64_t features = kFeatureVersion1 | kFeatureEventIdx | kBlkFlush) {
    REQUIRE(driver.negotiate(features));
    queues.clear();
    for (std::uint16_t i = 0; i < blk.nr_queues(); ++i) {
      queues.push_back(std::make_unique<QueueDriver>(memory, arena, 16, features));
      driver.set_up_queue(i, queues[i]->layout());
    }
    driver.driver_ok();
  }
  // Sends a flush, and returns where its status byte is.
  GuestAddress send_flush(std::uint16_t queue = 0) {
    GuestAddress header = arena.take(16), status = arena.take(1);
    bool written = memory.write_object(header, Le64(static_cast<std::uint32_t>(BlkType::kFlush))) &&
                   memory.write_object(status, kNoAnswer);
    REQUIRE(written);
    queues[queue]->add({{header, 16, false}, {status, 1, true}});
    driver.kick(queue);
    return status;
  }
  std::uint8_t answer(GuestAddress status) { return *memory.read_object<std::uint8_t>(status); }
  std::uint8_t flush(std::uint16_t queue = 0) {
    GuestAddress status = send_flush(queue);
    wait_for([&] { return queues[queue]->has_used(); });
    turn(10);
    queues[queue]->take_used();
    return answer(status);
  }

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  GuestMemory memory = make_memory();
  GuestArena arena{GuestAddress(0x1000), kMemory - 0x1000};
  MemoryDisk disk{*loop, 1 << 20};
  FakeInterrupt line;
  FakeKickRegistrar kicks;
  Bus bus{"MMIO"};
  Blk blk;
  std::unique_ptr<MmioTransport> transport;
  MmioDriver driver;
  std::vector<std::unique_ptr<QueueDriver>> queues;
};

TEST_CASE("MmioTransport: a driver recognises a virtio block device of version 2", "[virtio]") {
  Bench bench;
  CHECK(bench.driver.read(mmio::kMagic) == 0x74726976);
  CHECK(bench.driver.read(mmio::kVersion) == 2);
  CHECK(bench.driver.read(mmio::kDeviceId) == 2);
  CHECK(bench.driver.read(mmio::kVendorId) != 0);
  CHECK(bench.driver.status() == 0);
  CHECK(bench.driver.read(mmio::kQueueNumMax) == 16);
  CHECK(bench.driver.read(mmio::kShmLen) == 0xffffffff);
  CHECK(bench.driver.read(mmio::kConfig, 8) == (1 << 20) / 512);
}

TEST_CASE("MmioTransport: features are taken only with VERSION_1 and only those offered",
          "[virtio]") {
  Bench bench;
  std::uint64_t offered = bench.driver.device_features();
  CHECK((offered & kFeatureVersion1) != 0);
  CHECK(!bench.driver.negotiate(0));
  CHECK(!bench.driver.negotiate(offered | std::uint64_t{1} << 50));
  CHECK(bench.driver.negotiate(kFeatureVersion1));
  bench.driver.write(mmio::kDeviceFeaturesSel, 2);
  CHECK(bench.driver.read(mmio::kDeviceFeatures) == 0);
  bench.driver.set_status(0);
  bench.driver.set_status(1 | 2 | 4);
  CHECK(bench.driver.status() == (1 | 2));
}

TEST_CASE("MmioTransport: a completion raises the line and says why until that is acknowledged",
          "[virtio]") {
  Bench bench;
  bench.start();
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 0);
  CHECK(bench.flush() == 0);
  CHECK(bench.line.nr_signals == 1);
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 1);
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 1);
  bench.driver.write(mmio::kInterruptAck, 2);
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 1);
  bench.driver.write(mmio::kInterruptAck, 1);
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 0);
}

TEST_CASE("MmioTransport: a changed configuration is announced", "[virtio]") {
  Bench bench;
  bench.start();
  std::uint64_t generation = bench.driver.read(mmio::kConfigGeneration);
  bench.transport->config_changed();
  CHECK(bench.driver.read(mmio::kConfigGeneration) != generation);
  CHECK(bench.line.nr_signals == 1);
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 2);
}

TEST_CASE("MmioTransport: a broken ring shows as DEVICE_NEEDS_RESET, which a reset lifts",
          "[virtio]") {
  Bench bench;
  bench.start();
  bench.queues[0]->set_avail_index(100);
  bench.driver.kick(0);
  CHECK(bench.wait_for([&] { return (bench.driver.status() & kStatusNeedsReset) != 0; }));
  CHECK(bench.driver.read(mmio::kInterruptStatus) == 2);
  bench.driver.set_status(0);
  CHECK(bench.wait_for([&] { return bench.driver.status() == 0; }));
  bench.start();
  CHECK(bench.flush() == 0);
}

TEST_CASE("MmioTransport: kicks of one queue are bound to the register, of several to its values",
          "[virtio]") {
  std::uint16_t nr_queues = GENERATE(1, 3);
  Bench bench(nr_queues);
  bench.start();
  CHECK(bench.kicks.bound().size() == (nr_queues == 1 ? 1u : 0u));
  CHECK(bench.kicks.nr_bound_values() == (nr_queues == 1 ? 0u : 3u));
  for (std::uint16_t i = 0; i < nr_queues; ++i) CHECK(bench.flush(i) == 0);
  bench.driver.set_status(0);
  CHECK(bench.kicks.bound().empty());
  CHECK(bench.kicks.nr_bound_values() == 0);
}

TEST_CASE("MmioTransport: kicks that nobody binds arrive as stores", "[virtio]") {
  Bench bench(3, false);
  bench.start();
  for (std::uint16_t i = 0; i < 3; ++i) CHECK(bench.flush(i) == 0);
  bench.driver.write(mmio::kQueueNotify, 3);
  bench.driver.write(mmio::kQueueNotify, 0xffffffff);
  CHECK(bench.flush(2) == 0);
}

TEST_CASE("MmioTransport: a queue is fixed once the device runs, and can be taken back before",
          "[virtio]") {
  Bench bench(2);
  REQUIRE(bench.driver.negotiate(kFeatureVersion1));
  QueueDriver queue(bench.memory, bench.arena, 8);
  bench.driver.set_up_queue(0, queue.layout());
  CHECK(bench.driver.read(mmio::kQueueReady) == 1);
  bench.driver.write(mmio::kQueueReady, 0);
  CHECK(bench.driver.read(mmio::kQueueReady) == 0);
  bench.driver.set_up_queue(0, queue.layout());
  bench.driver.driver_ok();
  bench.driver.write(mmio::kQueueReady, 0);
  CHECK(bench.driver.read(mmio::kQueueReady) == 1);
  bench.driver.set_up_queue(1, queue.layout());
  CHECK(bench.driver.read(mmio::kQueueReady) == 0);
}

TEST_CASE("MmioTransport: queues that are not there have no size and cannot be made ready",
          "[virtio]") {
  Bench bench;
  for (std::uint32_t index : {1u, 0x10000u, 0xffffffffu}) {
    bench.driver.write(mmio::kQueueSel, index);
    CHECK(bench.driver.read(mmio::kQueueNumMax) == 0);
    bench.driver.write(mmio::kQueueReady, 1);
    CHECK(bench.driver.read(mmio::kQueueReady) == 0);
  }
}

TEST_CASE("MmioTransport: absurd queue sizes are not taken", "[virtio]") {
  Bench bench;
  REQUIRE(bench.driver.negotiate(kFeatureVersion1));
  bench.queues.push_back(std::make_unique<QueueDriver>(bench.memory, bench.arena, 16));
  bench.driver.set_up_queue(0, bench.queues[0]->layout());
  bench.driver.write(mmio::kQueueReady, 0);
  for (std::uint32_t size : {0u, 3u, 32u, 0x10000u, 0x10010u, 0xffffffffu}) {
    bench.driver.write(mmio::kQueueNum, size);
  }
  bench.driver.write(mmio::kQueueReady, 1);
  bench.driver.driver_ok();
  CHECK(bench.flush() == 0);  // the rings are where a queue of 16 has them
}

TEST_CASE("MmioTransport: registers take aligned words alone", "[virtio]") {
  Bench bench;
  CHECK(bench.driver.read(mmio::kMagic, 1) == 0);
  CHECK(bench.driver.read(mmio::kMagic, 8) == 0);
  CHECK(bench.driver.read(mmio::kMagic + 2, 4) == 0);
  bench.driver.write(mmio::kStatus, 1, 1);
  bench.driver.write(mmio::kStatus - 4, 0x1'00000000, 8);
  CHECK(bench.driver.status() == 0);
}

// Linux does not look at the status after it has reset the device.
TEST_CASE("MmioTransport: the store that resets comes back when nothing is in flight", "[virtio]") {
  Bench bench(1, true, std::chrono::minutes(2));
  bench.start();
  bench.disk.hold();
  GuestAddress status = bench.send_flush();
  REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
  std::atomic<bool> back = false;
  std::thread vcpu([&] {
    bench.driver.set_status(0);
    back = true;
  });
  bench.turn(1000);
  CHECK(!back);
  CHECK(bench.answer(status) == kNoAnswer);
  bench.disk.release();
  CHECK(bench.wait_for([&] { return back.load(); }));
  vcpu.join();
  CHECK(bench.driver.status() == 0);
  CHECK(bench.answer(status) == 0);
}

TEST_CASE("MmioTransport: where that takes too long, the status says so and writes wait",
          "[virtio]") {
  Bench bench(1, true, std::chrono::milliseconds(1));
  bench.start();
  bench.disk.hold();
  bench.send_flush();
  REQUIRE(bench.wait_for([&] { return bench.disk.nr_waiting() == 1; }));
  bench.driver.set_status(0);
  CHECK(bench.driver.status() == (1 | 2 | 4 | 8));
  bench.driver.set_status(1);
  bench.driver.write(mmio::kQueueReady, 0);
  CHECK(bench.driver.read(mmio::kQueueReady) == 1);
  bench.disk.release();
  CHECK(bench.wait_for([&] { return bench.driver.status() == 0; }));
  bench.start();
  CHECK(bench.flush() == 0);
}

TEST_CASE("MmioTransport: storms of random accesses harm nobody", "[virtio][hostile]") {
  std::uint64_t seed = GENERATE(11, 12, 13, 14);
  auto dice = [&](std::uint64_t sides) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % sides;
  };
  Bench bench(2, dice(2) == 0);
  for (int i = 0; i < 30000; ++i) {
    auto size = static_cast<unsigned>(dice(3) == 0 ? 1 + dice(8) : 4);
    std::uint64_t value = dice(4) == 0 ? dice(~std::uint64_t{0}) : dice(32);
    std::uint64_t offset = dice(8) == 0 ? dice(MmioTransport::kSize) : dice(72) * 4;
    if (dice(2) == 0) {
      bench.driver.write(offset, value, size);
    } else {
      bench.driver.read(offset, size);
    }
    if (dice(64) == 0) bench.turn(3);
  }
  bench.driver.set_status(0);
  REQUIRE(bench.wait_for([&] {
    bench.driver.set_status(0);
    return bench.driver.status() == 0;
  }));
  bench.start();
  CHECK(bench.flush() == 0);
}

}  // namespace
}  // namespace vmm::virtio
