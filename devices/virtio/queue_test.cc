// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/queue.h"

#include <array>

#include "devices/testing/queue_driver.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::Buffer;
using testing::GuestArena;
using testing::QueueDriver;
using testing::Used;

constexpr std::uint64_t kMemory = 1 << 20;

struct Bench {
  explicit Bench(std::uint64_t extra_features = 0, std::uint16_t size = 8)
      : features(kFeatureVersion1 | extra_features), driver(memory, arena, size, features) {
    queue = *Virtqueue::create(memory, driver.layout(), features);
  }

  GuestAddress page() { return arena.take(4096, 4096); }
  void complete_next(std::uint32_t written) {
    Result<std::optional<Chain>> chain = queue->pop();
    REQUIRE(chain);
    REQUIRE(chain->has_value());
    (*chain)->complete(written);
  }
  // What the device says of the ring; empty where it has nothing against it.
  std::string complaint() {
    Result<std::optional<Chain>> chain = queue->pop();
    if (!chain) return chain.error().message();
    if (chain->has_value()) (*chain)->complete(0);
    return "";
  }

  std::array<GuestMemory::Range, 1> ranges{{{GuestAddress(0), kMemory}}};
  GuestMemory memory = *GuestMemory::create(ranges);
  GuestArena arena{GuestAddress(0x1000), kMemory - 0x1000};
  std::uint64_t features;
  QueueDriver driver;
  std::unique_ptr<Virtqueue> queue;
};

TEST_CASE("Virtqueue: an empty ring gives nothing", "[virtio]") {
  Bench bench;
  CHECK(bench.complaint().empty());
  CHECK(!bench.driver.has_used());
}

TEST_CASE("Virtqueue: a chain comes with its buffers in order and goes back with its length",
          "[virtio]") {
  Bench bench;
  GuestAddress in = bench.page(), out = bench.page();
  std::uint16_t head = bench.driver.add(
      {{in, 16, false}, {in + 100, 32, false}, {out, 64, true}, {out + 1000, 1, true}});
  Result<std::optional<Chain>> popped = bench.queue->pop();
  REQUIRE(popped);
  REQUIRE(popped->has_value());
  Chain chain = **std::move(popped);
  REQUIRE(chain.readable().size() == 2);
  REQUIRE(chain.writable().size() == 2);
  CHECK(chain.readable()[0].iov_base == bench.memory.find(in, 16));
  CHECK(chain.readable()[1].iov_len == 32);
  CHECK(chain.writable()[0].iov_len == 64);
  CHECK(chain.writable()[1].iov_base == bench.memory.find(out + 1000, 1));
  CHECK(bench.queue->nr_in_flight() == 1);
  CHECK(!bench.driver.has_used());
  chain.complete(65);
  CHECK(bench.queue->nr_in_flight() == 0);
  std::optional<Used> used = bench.driver.take_used();
  REQUIRE(used);
  CHECK(used->id == head);
  CHECK(used->length == 65);
}

TEST_CASE("Virtqueue: chains may be completed in any order", "[virtio]") {
  Bench bench;
  GuestAddress page = bench.page();
  std::uint16_t first = bench.driver.add({{page, 8, false}});
  std::uint16_t second = bench.driver.add({{page, 8, false}});
  auto a = bench.queue->pop();
  auto b = bench.queue->pop();
  (*b)->complete(0);
  (*a)->complete(0);
  CHECK(bench.driver.take_used()->id == second);
  CHECK(bench.driver.take_used()->id == first);
}

TEST_CASE("Virtqueue: indexes wrap around many times", "[virtio]") {
  for (std::uint64_t event_index : {std::uint64_t{0}, kFeatureEventIdx}) {
    Bench bench(event_index, 4);
    GuestAddress page = bench.page();
    for (unsigned i = 0; i < 70000; ++i) {
      std::uint16_t head = bench.driver.add({{page, 8, false}, {page, 8, true}});
      Result<std::optional<Chain>> chain = bench.queue->pop();
      if (!chain || !chain->has_value()) FAIL("round " << i);
      (*chain)->complete(i);
      std::optional<Used> used = bench.driver.take_used();
      if (!used || used->id != head || used->length != i) FAIL("round " << i);
    }
  }
}

TEST_CASE("Virtqueue: buffers that meet in memory are one, but never across directions",
          "[virtio]") {
  Bench bench;
  GuestAddress page = bench.page();
  bench.driver.add({{page, 16, false},
                    {page + 16, 16, false},
                    {page + 32, 16, true},
                    {page + 48, 16, true},
                    {page + 64, 0, true}});
  auto chain = bench.queue->pop();
  CHECK((*chain)->readable().size() == 1);
  CHECK((*chain)->readable()[0].iov_len == 32);
  CHECK((*chain)->writable().size() == 1);
  CHECK((*chain)->writable()[0].iov_len == 32);
  (*chain)->complete(0);
}

TEST_CASE("Virtqueue: an indirect table holds a chain longer than the queue", "[virtio]") {
  Bench bench(kFeatureIndirectDesc, 4);
  GuestAddress page = bench.page();
  bench.driver.add_indirect({{page, 1, false},
                             {page + 2, 1, false},
                             {page + 4, 1, false},
                             {page + 6, 1, false},
                             {page + 8, 1, false},
                             {page + 10, 1, true}});
  auto chain = bench.queue->pop();
  REQUIRE(chain);
  CHECK((*chain)->readable().size() == 5);
  CHECK((*chain)->writable().size() == 1);
  (*chain)->complete(1);
}

TEST_CASE("Virtqueue: an indirect descriptor may end a direct chain", "[virtio]") {
  Bench bench(kFeatureIndirectDesc);
  GuestAddress page = bench.page(), table = bench.page();
  bench.driver.set_descriptor(0, page, 8, QueueDriver::kNext, 1);
  bench.driver.set_descriptor(1, table, 16, QueueDriver::kIndirect, 0);
  bench.driver.set_descriptor_in(table, 0, page + 100, 8, QueueDriver::kWrite, 0);
  bench.driver.make_available(0);
  auto chain = bench.queue->pop();
  REQUIRE(chain);
  CHECK((*chain)->readable().size() == 1);
  CHECK((*chain)->writable().size() == 1);
  (*chain)->complete(1);
}

TEST_CASE("Virtqueue: the driver is interrupted unless it said no", "[virtio]") {
  Bench bench;
  GuestAddress page = bench.page();
  CHECK(!bench.queue->needs_interrupt());
  bench.driver.add({{page, 8, true}});
  bench.complete_next(8);
  CHECK(bench.queue->needs_interrupt());
  CHECK(!bench.queue->needs_interrupt());  // for nothing new
  bench.driver.set_no_interrupt(true);
  bench.driver.add({{page, 8, true}});
  bench.complete_next(8);
  CHECK(!bench.queue->needs_interrupt());
}

TEST_CASE("Virtqueue: with an event index, interrupts come once the named index is passed",
          "[virtio]") {
  Bench bench(kFeatureEventIdx);
  GuestAddress page = bench.page();
  bench.driver.set_used_event(2);  // "when the third is done"
  for (int i = 1; i <= 4; ++i) {
    bench.driver.add({{page, 8, true}});
    bench.complete_next(8);
    INFO("completion " << i);
    CHECK(bench.queue->needs_interrupt() == (i == 3));
  }
  // A batch that goes over it counts as well.
  bench.driver.set_used_event(5);
  for (int i = 0; i < 4; ++i) bench.driver.add({{page, 8, true}});
  for (int i = 0; i < 4; ++i) bench.complete_next(8);
  CHECK(bench.queue->needs_interrupt());
}

TEST_CASE("Virtqueue: kicks are asked for only before waiting", "[virtio]") {
  for (std::uint64_t event_index : {std::uint64_t{0}, kFeatureEventIdx}) {
    Bench bench(event_index);
    GuestAddress page = bench.page();
    REQUIRE(bench.queue->enable_kicks());
    bench.driver.add({{page, 8, true}});
    CHECK(bench.driver.needs_kick());
    bench.queue->disable_kicks();
    bench.driver.add({{page, 8, true}});
    CHECK(!bench.driver.needs_kick());
    bench.complete_next(8);
    CHECK(!bench.queue->enable_kicks());  // one came in between: look again
    bench.complete_next(8);
    CHECK(bench.queue->enable_kicks());
    bench.driver.add({{page, 8, true}});
    CHECK(bench.driver.needs_kick());
  }
}

TEST_CASE("Virtqueue: areas outside of memory or misaligned are refused", "[virtio]") {
  Bench bench;
  const QueueLayout good = bench.driver.layout();
  auto refused = [&](QueueLayout layout) {
    return !Virtqueue::create(bench.memory, layout, kFeatureVersion1);
  };
  CHECK(!refused(good));
  for (GuestAddress QueueLayout::*area :
       {&QueueLayout::descriptors, &QueueLayout::driver_area, &QueueLayout::device_area}) {
    for (std::uint64_t bad : {kMemory, kMemory - 16, ~std::uint64_t{15}, good.descriptors.value + 1,
                              std::uint64_t{1} << 63}) {
      QueueLayout layout = good;
      layout.*area = GuestAddress(bad);
      INFO(std::hex << bad);
      CHECK(refused(layout));
    }
  }
}

// Each of these is a guest that breaks a rule. The queue says which, and is dead from then on.
TEST_CASE("Virtqueue: a chain that loops is found out", "[virtio][hostile]") {
  Bench bench;
  GuestAddress page = bench.page();
  for (std::uint16_t i = 0; i < 8; ++i) {
    bench.driver.set_descriptor(i, page, 8, QueueDriver::kNext,
                                static_cast<std::uint16_t>((i + 1) % 8));
  }
  bench.driver.make_available(3);
  CHECK(bench.complaint().find("loops") != std::string::npos);
  bench.driver.add({{page, 8, false}});
  CHECK(bench.complaint().empty());  // dead: nothing comes any more
  CHECK(bench.queue->nr_in_flight() == 0);
  CHECK(!bench.driver.has_used());
}

TEST_CASE("Virtqueue: a loop inside an indirect table is found out", "[virtio][hostile]") {
  Bench bench(kFeatureIndirectDesc);
  GuestAddress page = bench.page(), table = bench.page();
  bench.driver.set_descriptor_in(table, 0, page, 8, QueueDriver::kNext, 1);
  bench.driver.set_descriptor_in(table, 1, page, 8, QueueDriver::kNext, 0);
  bench.driver.set_descriptor(0, table, 32, QueueDriver::kIndirect, 0);
  bench.driver.make_available(0);
  CHECK(bench.complaint().find("loops") != std::string::npos);
}

TEST_CASE("Virtqueue: bad indexes are found out", "[virtio][hostile]") {
  SECTION("a head beyond the table") {
    Bench bench;
    bench.driver.make_available(8);
    CHECK(bench.complaint().find("descriptor 8 in a table of 8") != std::string::npos);
  }
  SECTION("a next beyond the table") {
    Bench bench;
    bench.driver.set_descriptor(0, bench.page(), 8, QueueDriver::kNext, 65535);
    bench.driver.make_available(0);
    CHECK(bench.complaint().find("descriptor 65535") != std::string::npos);
  }
  SECTION("avail.idx runs ahead by more than the queue holds") {
    Bench bench;
    bench.driver.set_avail_index(9);
    CHECK(bench.complaint().find("avail.idx jumped") != std::string::npos);
  }
  SECTION("avail.idx goes backwards") {
    Bench bench;
    bench.driver.set_avail_index(0xffff);
    CHECK(bench.complaint().find("avail.idx jumped") != std::string::npos);
  }
}

TEST_CASE("Virtqueue: one head made available again and again does not pile up",
          "[virtio][hostile]") {
  Bench bench;
  bench.driver.set_descriptor(0, bench.page(), 8, 0, 0);
  std::vector<Chain> held;
  std::string complaint;
  for (int i = 0; i < 100 && complaint.empty(); ++i) {
    bench.driver.make_available(0);
    Result<std::optional<Chain>> chain = bench.queue->pop();
    if (!chain) {
      complaint = chain.error().message();
    } else {
      held.push_back(**std::move(chain));
    }
  }
  CHECK(complaint.find("more chains") != std::string::npos);
  CHECK(held.size() == 8);
  for (Chain& chain : held) chain.complete(0);
}

TEST_CASE("Virtqueue: bad buffers are found out", "[virtio][hostile]") {
  Bench bench;
  GuestAddress page = bench.page();
  struct {
    std::uint64_t address;
    std::uint32_t length;
  } const bad[] = {{kMemory, 1},           {kMemory - 1, 2},
                   {~std::uint64_t{0}, 1}, {~std::uint64_t{0}, 0xffffffff},
                   {0, 0xffffffff},        {std::uint64_t{1} << 52, 4096}};
  for (const auto& buffer : bad) {
    bench.queue = *Virtqueue::create(bench.memory, bench.driver.layout(), bench.features);
    bench.driver.set_avail_index(0);
    bench.driver.set_descriptor(0, GuestAddress(buffer.address), buffer.length, 0, 0);
    bench.driver.make_available(0);
    INFO(std::hex << buffer.address << "+" << buffer.length);
    CHECK(bench.complaint().find("not in guest memory") != std::string::npos);
  }
  bench.queue = *Virtqueue::create(bench.memory, bench.driver.layout(), bench.features);
  bench.driver.set_avail_index(0);
  bench.driver.set_descriptor(0, page, 8, QueueDriver::kNext | QueueDriver::kWrite, 1);
  bench.driver.set_descriptor(1, page, 8, 0, 0);
  bench.driver.make_available(0);
  CHECK(bench.complaint().find("readable descriptor behind") != std::string::npos);
}

TEST_CASE("Virtqueue: bad indirect descriptors are found out", "[virtio][hostile]") {
  Bench bench(kFeatureIndirectDesc);
  GuestAddress page = bench.page(), table = bench.page();
  SECTION("indirect in indirect") {
    bench.driver.set_descriptor(0, table, 16, QueueDriver::kIndirect, 0);
    bench.driver.set_descriptor_in(table, 0, table, 16, QueueDriver::kIndirect, 0);
  }
  SECTION("with a next") {
    bench.driver.set_descriptor(0, table, 16, QueueDriver::kIndirect | QueueDriver::kNext, 1);
  }
  SECTION("of no length") {
    bench.driver.set_descriptor(0, table, 0, QueueDriver::kIndirect, 0);
  }
  SECTION("of an odd length") {
    bench.driver.set_descriptor(0, table, 17, QueueDriver::kIndirect, 0);
  }
  SECTION("of an absurd length") {
    bench.driver.set_descriptor(0, GuestAddress(0), 16 * 1025, QueueDriver::kIndirect, 0);
  }
  SECTION("outside of memory") {
    bench.driver.set_descriptor(0, GuestAddress(kMemory), 16, QueueDriver::kIndirect, 0);
  }
  SECTION("not negotiated") {
    bench.queue = *Virtqueue::create(bench.memory, bench.driver.layout(), kFeatureVersion1);
    bench.driver.set_descriptor(0, table, 16, QueueDriver::kIndirect, 0);
    bench.driver.set_descriptor_in(table, 0, page, 8, 0, 0);
  }
  bench.driver.make_available(0);
  CHECK(bench.complaint().find("indirect") != std::string::npos);
}

TEST_CASE("Virtqueue: a chain with more buffers than a host call takes is refused",
          "[virtio][hostile]") {
  Bench bench(kFeatureIndirectDesc, 1024);
  GuestAddress table = bench.arena.take(16 * 1024), page = bench.page();
  for (std::uint16_t i = 0; i < 1023; ++i) {
    bench.driver.set_descriptor(i, page + 2u * (i % 2), 1, QueueDriver::kNext,
                                static_cast<std::uint16_t>(i + 1));
  }
  bench.driver.set_descriptor(1023, table, 16 * 1024, QueueDriver::kIndirect, 0);
  for (std::uint16_t i = 0; i < 1024; ++i) {
    bench.driver.set_descriptor_in(table, i, page + 2u * (i % 2), 1,
                                   i < 1023 ? QueueDriver::kNext : 0,
                                   static_cast<std::uint16_t>(i + 1));
  }
  bench.driver.make_available(0);
  CHECK(bench.complaint().find("too many buffers") != std::string::npos);
}

}  // namespace
}  // namespace vmm::virtio
