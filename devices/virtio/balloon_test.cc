// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/balloon.h"

#include <sys/mman.h>

#include "devices/testing/device_bench.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::Buffer;

constexpr std::uint32_t kPage = 4096;
constexpr std::uint64_t kAll = kBalloonStats | kBalloonDeflateOnOom | kBalloonFreePageHint |
                               kBalloonPagePoison | kBalloonReporting;

struct Bench {
  explicit Bench(std::uint64_t features = kAll) {
    bench.attach(balloon);
    bench.start(testing::DeviceBench::kRingFeatures | features);
  }
  ~Bench() {
    bench.stop();
    bench.transport.reset();
  }

  // Whether the device answered.
  bool give(unsigned queue, std::initializer_list<Buffer> buffers) {
    bench.queue(queue).add(buffers);
    bench.driver->kick(static_cast<std::uint16_t>(queue));
    if (!bench.wait_for([&] { return bench.queue(queue).has_used(); })) return false;
    bench.queue(queue).take_used();
    return true;
  }
  bool give_pages(unsigned queue, std::vector<std::uint32_t> numbers) {
    const GuestAddress list = bench.arena.take(4 * numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      REQUIRE(bench.memory.write_object(list + 4 * i, Le32(numbers[i])));
    }
    return give(queue, {{list, static_cast<std::uint32_t>(4 * numbers.size()), false}});
  }
  // Pages with something in them, at a page's start.
  std::uint32_t pages(unsigned count) {
    const GuestAddress at = bench.arena.take((count + 1) * kPage);
    const auto first = static_cast<std::uint32_t>((at.value + kPage - 1) / kPage);
    bench.fill(GuestAddress(std::uint64_t{first} * kPage), count * kPage, 0x5a);
    return first;
  }
  bool filled(std::uint32_t page, std::uint8_t value) {
    return bench.filled(GuestAddress(std::uint64_t{page} * kPage), kPage, value);
  }
  std::uint64_t config(unsigned offset) {
    return bench.buses.read(bench.driver->part(4) + offset, 4);
  }
  void set_config(unsigned offset, std::uint32_t value) {
    bench.buses.write(bench.driver->part(4) + offset, 4, value);
  }
  BalloonStats stats() { return balloon.stats(std::chrono::milliseconds(0)); }

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  testing::DeviceBench bench{*loop};
  Balloon balloon{*loop, bench.memory};
};

TEST_CASE("Balloon: the target reaches the driver, which says how far it has come", "[virtio]") {
  Bench test;
  CHECK(test.bench.buses.read_config(1, 0, 4) == 0x10451af4);
  CHECK(test.config(0) == 0);
  test.balloon.set_target(8 << 20);
  CHECK(test.bench.wait_for([&] { return test.bench.msi.messages[0]->nr_signals == 1; }));
  CHECK(test.config(0) == (8 << 20) / kPage);
  test.set_config(4, 100);
  CHECK(test.config(4) == 100);
  CHECK(test.stats().target_bytes == 8 << 20);
  CHECK(test.stats().actual_bytes == 100 * kPage);
  test.set_config(0, 7);  // not the driver's to write
  CHECK(test.config(0) == (8 << 20) / kPage);
}

TEST_CASE("Balloon: pages that the guest gives lose their memory, and no others", "[virtio]") {
  Bench test;
  const std::uint32_t first = test.pages(6);
  // In Linux's order: from above; two are neighbours, one is there twice.
  CHECK(test.give_pages(0, {first + 4, first + 2, first + 1, first + 2}));
  CHECK(test.filled(first, 0x5a));
  CHECK(test.filled(first + 1, 0));
  CHECK(test.filled(first + 2, 0));
  CHECK(test.filled(first + 3, 0x5a));
  CHECK(test.filled(first + 4, 0));
  CHECK(test.filled(first + 5, 0x5a));
  CHECK(test.stats().returned_bytes == 3 * kPage);
  // Deflated, and used again.
  CHECK(test.give_pages(1, {first + 4}));
  test.bench.fill(GuestAddress(std::uint64_t{first + 4} * kPage), kPage, 0x77);
  CHECK(test.filled(first + 4, 0x77));
}

TEST_CASE("Balloon: the host's memory is free afterwards", "[virtio]") {
  Bench test;
  const std::uint32_t first = test.pages(64);
  std::byte* host = test.bench.memory.find(GuestAddress(std::uint64_t{first} * kPage), kPage);
  unsigned char resident[64];
  REQUIRE(::mincore(host, sizeof resident * kPage, resident) == 0);
  CHECK((resident[3] & 1) == 1);
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i < 64; ++i) numbers.push_back(first + 63 - i);
  CHECK(test.give_pages(0, numbers));
  REQUIRE(::mincore(host, sizeof resident * kPage, resident) == 0);
  for (unsigned char page : resident) CHECK((page & 1) == 0);
}

TEST_CASE("Balloon: page numbers that are no memory do nothing", "[virtio]") {
  Bench test;
  const std::uint32_t last = testing::DeviceBench::kMemory / kPage - 1;
  CHECK(test.give_pages(0, {last + 1, UINT32_MAX, 0x80000000}));
  CHECK(test.stats().returned_bytes == 0);
  CHECK(test.give_pages(0, {last, last + 1}));
  CHECK(test.stats().returned_bytes == kPage);
  const GuestAddress odd = test.bench.arena.take(64);
  CHECK(test.give(0, {{odd, 3, false}}));
  CHECK(test.give(0, {{odd, 64, true}}));
  CHECK(test.give(1, {{odd, 64, true}}));
  CHECK(test.stats().returned_bytes == kPage);
}

TEST_CASE("Balloon: free pages that are reported lose their memory, whole ones alone", "[virtio]") {
  Bench test;
  const std::uint32_t first = test.pages(8);
  const GuestAddress start(std::uint64_t{first} * kPage);
  CHECK(test.give(4, {{start, 2 * kPage, true}, {start + 4 * kPage + 1, 2 * kPage, true}}));
  CHECK(test.filled(first, 0));
  CHECK(test.filled(first + 1, 0));
  CHECK(test.filled(first + 2, 0x5a));
  CHECK(test.filled(first + 4, 0x5a));
  CHECK(test.filled(first + 5, 0));
  CHECK(test.filled(first + 6, 0x5a));
  // Only what the device may write.
  CHECK(test.give(4, {{start + 7 * kPage, kPage, false}}));
  CHECK(test.filled(first + 7, 0x5a));
}

TEST_CASE("Balloon: a guest that poisons its free pages keeps them", "[virtio]") {
  Bench test;
  const std::uint32_t first = test.pages(1);
  test.set_config(12, 0xaaaaaaaa);
  CHECK(test.give(4, {{GuestAddress(std::uint64_t{first} * kPage), kPage, true}}));
  CHECK(test.filled(first, 0x5a));
  test.set_config(12, 0);
  CHECK(test.give(4, {{GuestAddress(std::uint64_t{first} * kPage), kPage, true}}));
  CHECK(test.filled(first, 0));
}

TEST_CASE("Balloon: without hints the reporting queue is Linux's third", "[virtio]") {
  // DeviceBench sets up all queues, as the specification counts: 4 is the reporting one, 3 is none.
  Bench test(kBalloonStats | kBalloonReporting);
  const std::uint32_t first = test.pages(2);
  CHECK(test.give(3, {{GuestAddress(std::uint64_t{first} * kPage), kPage, true}}));
  CHECK(test.filled(first, 0x5a));
  CHECK(test.give(4, {{GuestAddress(std::uint64_t{first} * kPage), kPage, true}}));
  CHECK(test.filled(first, 0));
}

TEST_CASE("Balloon: statistics come when they are asked for", "[virtio]") {
  Bench test;
  const GuestAddress list = test.bench.arena.take(64);
  auto say = [&](std::uint64_t at, std::uint16_t tag, std::uint64_t value) {
    REQUIRE(test.bench.memory.write_object(list + at, Le16(tag)));
    REQUIRE(test.bench.memory.write_object(list + at + 2, Le64(value)));
  };
  CHECK_FALSE(test.stats().guest[4]);
  test.bench.settle();
  say(0, 4, 1000);
  say(10, 0xffff, 1);  // of a later version
  say(20, 5, 2000);
  test.bench.queue(2).add({{list, 35, false}});  // and half of one more
  test.bench.driver->kick(2);
  test.bench.settle();
  CHECK_FALSE(test.bench.queue(2).has_used());
  BalloonStats stats = test.stats();  // and asks for the next
  CHECK(stats.guest[4] == 1000);
  CHECK(stats.guest[5] == 2000);
  CHECK_FALSE(stats.guest[0]);
  CHECK(test.bench.wait_for([&] { return test.bench.queue(2).has_used(); }));
  test.bench.queue(2).take_used();
  say(0, 0, 3);
  test.bench.queue(2).add({{list, 10, false}});
  test.bench.driver->kick(2);
  test.bench.settle();
  stats = test.stats();
  CHECK(stats.guest[0] == 3);
  CHECK_FALSE(stats.guest[4]);
  // A reset must not wait for somebody to ask.
  test.bench.queue(2).add({{list, 10, false}});
  test.bench.driver->kick(2);
  test.bench.settle();
  test.bench.driver->set_status(0);
  CHECK(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
  test.bench.start(testing::DeviceBench::kRingFeatures | kAll);
  test.bench.settle();
  CHECK_FALSE(test.stats().guest[0]);
}

}  // namespace
}  // namespace vmm::virtio
