// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/rng.h"

#include "devices/testing/device_bench.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::Used;

struct Bench {
  Bench() {
    bench.attach(rng);
    bench.start();
  }
  ~Bench() {
    bench.stop();
    bench.transport.reset();
  }
  // The used length, or -1 where nothing came.
  std::int64_t ask(std::initializer_list<testing::Buffer> buffers) {
    bench.queue().add(buffers);
    bench.driver->kick(0);
    if (!bench.wait_for([&] { return bench.queue().has_used(); })) return -1;
    return bench.queue().take_used()->length;
  }

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  testing::DeviceBench bench{*loop};
  Rng rng{*loop, bench.memory};
};

TEST_CASE("Rng: fills the guest's buffers, each with other bytes", "[virtio]") {
  Bench test;
  CHECK(test.bench.buses.read_config(1, 0, 4) == 0x10441af4);
  GuestAddress first = test.bench.arena.take(64), second = test.bench.arena.take(64);
  CHECK(test.ask({{first, 64, true}}) == 64);
  CHECK(test.ask({{second, 32, true}, {second + 40, 24, true}}) == 56);
  CHECK(!test.bench.filled(first, 64, 0));
  auto a = *test.bench.memory.read_object<std::uint64_t>(first);
  auto b = *test.bench.memory.read_object<std::uint64_t>(second);
  CHECK(a != b);
  CHECK(test.bench.filled(second + 32, 8, 0));  // between the buffers
  CHECK(test.bench.msi.messages[1]->nr_signals == 2);
}

TEST_CASE("Rng: gives so much at a time, and nothing into buffers it may only read", "[virtio]") {
  Bench test;
  GuestAddress large = test.bench.arena.take(65536);
  CHECK(test.ask({{large, 65536, true}}) == Rng::kMaxBytes);
  CHECK(test.bench.filled(large + Rng::kMaxBytes, 65536 - Rng::kMaxBytes, 0));
  GuestAddress readable = test.bench.arena.take(64);
  CHECK(test.ask({{readable, 64, false}}) == 0);
  CHECK(test.bench.filled(readable, 64, 0));
}

}  // namespace
}  // namespace vmm::virtio
