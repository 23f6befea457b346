// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/console.h"

#include <string>
#include <thread>

#include "devices/testing/device_bench.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::Used;

constexpr unsigned kReceive = 0, kTransmit = 1;

struct TextSink : legacy::ConsoleSink {
  std::string text;
  void write(std::span<const std::byte> bytes) override {
    for (std::byte byte : bytes) text += static_cast<char>(byte);
  }
};

struct Bench {
  Bench() {
    bench.attach(console);
    bench.start();
  }
  ~Bench() {
    bench.stop();
    bench.transport.reset();
  }
  GuestAddress put(std::string_view text) {
    GuestAddress at = bench.arena.take(text.size());
    REQUIRE(bench.memory.write(at, std::as_bytes(std::span(text.data(), text.size()))));
    return at;
  }
  void give_buffer(GuestAddress at, std::uint32_t size) {
    bench.queue(kReceive).add({{at, size, true}});
    bench.driver->kick(kReceive);
  }
  std::string received(GuestAddress at) {
    if (!bench.wait_for([&] { return bench.queue(kReceive).has_used(); })) return "(nothing)";
    std::uint32_t length = bench.queue(kReceive).take_used()->length;
    std::span<std::byte> bytes = *bench.memory.slice(at, length);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::size_t type(std::string_view text) {
    return console.input(std::as_bytes(std::span(text.data(), text.size())));
  }

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  testing::DeviceBench bench{*loop};
  TextSink sink;
  Console console{sink, *loop, bench.memory};
};

TEST_CASE("Console: what the guest sends reaches the sink in order", "[virtio]") {
  Bench test;
  GuestAddress hello = test.put("hello, "), world = test.put("world\n"), more = test.put("more\n");
  test.bench.queue(kTransmit).add({{hello, 7, false}, {world, 6, false}});
  test.bench.queue(kTransmit).add({{more, 5, false}});
  test.bench.driver->kick(kTransmit);
  REQUIRE(test.bench.wait_for([&] { return test.bench.queue(kTransmit).used_index() == 2; }));
  CHECK(test.sink.text == "hello, world\nmore\n");
}

TEST_CASE("Console: what is typed waits for the guest's buffers, and the other way round",
          "[virtio]") {
  Bench test;
  GuestAddress first = test.bench.arena.take(64), second = test.bench.arena.take(64);
  CHECK(test.type("early") == 5);
  test.give_buffer(first, 64);
  CHECK(test.received(first) == "early");

  test.give_buffer(first, 4);
  test.give_buffer(second, 64);
  test.bench.settle();
  CHECK(!test.bench.queue(kReceive).has_used());
  CHECK(test.type("12345678") == 8);
  CHECK(test.received(first) == "1234");
  CHECK(test.received(second) == "5678");
}

TEST_CASE("Console: more than fits is refused, and asked for once there is room", "[virtio]") {
  Bench test;
  int nr_asked = 0;
  test.console.set_on_input_room([&] { ++nr_asked; });
  CHECK(test.type(std::string(5000, 'z')) == Console::kInputBuffer);
  CHECK(test.type("z") == 0);
  GuestAddress at = test.bench.arena.take(4096);
  test.give_buffer(at, 1000);
  CHECK(test.received(at).size() == 1000);
  CHECK(nr_asked == 0);
  test.give_buffer(at, 1100);
  CHECK(test.received(at).size() == 1100);
  CHECK(nr_asked == 1);
}

TEST_CASE("Console: a reset takes back the buffers that wait for input", "[virtio]") {
  Bench test;
  test.give_buffer(test.bench.arena.take(64), 64);
  test.give_buffer(test.bench.arena.take(64), 64);
  test.bench.settle();
  test.bench.driver->set_status(0);
  REQUIRE(test.bench.wait_for([&] { return test.bench.driver->status() == 0; }));
  CHECK(test.type("kept") == 4);
  test.bench.start();
  GuestAddress at = test.bench.arena.take(64);
  test.give_buffer(at, 64);
  CHECK(test.received(at) == "kept");
}

TEST_CASE("Console: a thread that types loses nothing", "[virtio][threads]") {
  Bench test;
  constexpr std::size_t kBytes = 20000;
  std::thread typist([&] {
    for (std::size_t sent = 0; sent < kBytes;) {
      char byte = static_cast<char>('a' + sent % 26);
      if (test.type(std::string_view(&byte, 1)) == 1) {
        ++sent;
      } else {
        std::this_thread::yield();
      }
    }
  });
  GuestAddress at = test.bench.arena.take(64);
  std::string all;
  while (all.size() < kBytes) {
    test.give_buffer(at, 64);
    std::string piece = test.received(at);
    if (piece == "(nothing)") break;
    all += piece;
  }
  typist.join();
  REQUIRE(all.size() == kBytes);
  bool in_order = true;
  for (std::size_t i = 0; i < kBytes; ++i) {
    in_order = in_order && all[i] == static_cast<char>('a' + i % 26);
  }
  CHECK(in_order);
}

}  // namespace
}  // namespace vmm::virtio
