// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/fs.h"

#include <string>

#include "devices/testing/device_bench.h"
#include "devices/testing/vhost_backend.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

using testing::VhostBackend;
using Manner = VhostBackend::Manner;

constexpr unsigned kRequests = 1;  // the queue

struct Bench {
  explicit Bench(Manner manner = Manner::kGood, std::chrono::milliseconds patience = kPatience)
      : backend(manner) {
    fs = *Fs::create(backend.take_socket(), "files", *loop, bench.memory, patience);
    bench.attach(*fs);
    bench.start();
  }
  ~Bench() {
    bench.stop();
    bench.transport.reset();
  }

  // Whether the back-end has served a request of the guest's.
  bool request() {
    constexpr std::uint32_t kLength = 300;
    const GuestAddress in = bench.arena.take(16), out = bench.arena.take(kLength);
    bench.queue(kRequests).add({{in, 16, false}, {out, kLength, true}});
    bench.driver->kick(kRequests);
    const bool used = bench.wait_for([&] { return bench.queue(kRequests).has_used(); });
    return used && bench.queue(kRequests).take_used()->length == kLength &&
           bench.filled(out, kLength, VhostBackend::kFilling);
  }
  bool needs_reset() {
    return bench.wait_for([&] { return (bench.driver->status() & kStatusNeedsReset) != 0; });
  }

  // For what a machine under load does in milliseconds.
  static constexpr std::chrono::milliseconds kPatience{60000};

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  testing::DeviceBench bench{*loop, {.shared = true}};
  VhostBackend backend;
  std::unique_ptr<Fs> fs;
};

TEST_CASE("Fs: the guest reads the tag, and that there is one queue for requests", "[fs]") {
  Bench bench;
  std::array<std::byte, 44> config;
  bench.fs->read_config(0, config);
  CHECK(std::string(reinterpret_cast<const char*>(config.data())) == "files");
  CHECK(load_le<std::uint32_t>(config.data() + 36) == 1);
  CHECK(load_le<std::uint32_t>(config.data() + 40) == 0);
  bench.fs->read_config(std::uint64_t{0} - 4, config);
  CHECK(load_le<std::uint64_t>(config.data()) == 0);
}

TEST_CASE("Fs: the back-end serves requests in the guest's memory, and interrupts", "[fs]") {
  Bench bench;
  for (int i = 0; i < 200; ++i) REQUIRE(bench.request());
  CHECK(bench.bench.wait_for(
      [&] { return bench.bench.msi.messages.at(1 + kRequests)->nr_signals > 0; }));
}

TEST_CASE("Fs: a reset stops the back-end's queues, and another driver starts them anew", "[fs]") {
  Bench bench;
  REQUIRE(bench.request());
  CHECK(bench.backend.nr_starts() == 2);
  bench.bench.stop();
  CHECK(bench.backend.nr_stops() == 2);
  bench.bench.start();
  REQUIRE(bench.request());
  CHECK(bench.backend.nr_starts() == 4);
}

TEST_CASE("Fs: a back-end that ends takes the device with it, and nothing else", "[fs]") {
  Bench bench;
  REQUIRE(bench.request());
  bench.backend.end();
  CHECK(bench.needs_reset());
  bench.bench.stop();
  bench.bench.start();
  CHECK(bench.needs_reset());
}

TEST_CASE("Fs: a back-end that says what nobody asked for is done with", "[fs]") {
  Bench bench;
  bench.backend.chatter();
  CHECK(bench.needs_reset());
}

TEST_CASE("Fs: a back-end that refuses what is set up does not get a queue", "[fs]") {
  Bench bench(Manner::kRefuses, Bench::kPatience);
  CHECK(bench.needs_reset());
  CHECK(bench.backend.nr_starts() == 0);
}

TEST_CASE("Fs: a back-end that does not stop is not waited for, for ever", "[fs]") {
  Bench bench(Manner::kNeverStops, std::chrono::milliseconds(300));
  REQUIRE(bench.bench.wait_for([&] { return bench.backend.nr_starts() == 2; }));
  bench.bench.stop();
  CHECK(bench.backend.nr_stops() == 0);
}

TEST_CASE("VhostUser: what a back-end does wrong at the beginning is told", "[fs]") {
  const GuestMemory::Range range{GuestAddress(0), 1 << 20};
  const GuestMemory memory = *GuestMemory::create(std::span(&range, 1), {.shared = true});
  const auto complaint = [&](Manner manner, std::chrono::milliseconds patience) {
    VhostBackend backend(manner);
    const Result<std::uint64_t> begun = VhostUser(backend.take_socket(), patience).begin();
    return begun ? std::string() : begun.error().message();
  };
  CHECK(complaint(Manner::kGood, Bench::kPatience).empty());
  CHECK(complaint(Manner::kOld, Bench::kPatience).find("too old") != std::string::npos);
  CHECK(complaint(Manner::kEnds, Bench::kPatience).find("closed") != std::string::npos);
  CHECK(complaint(Manner::kAnswersOther, Bench::kPatience).find("protocol") != std::string::npos);
  CHECK(complaint(Manner::kSilent, std::chrono::milliseconds(100)).find("100 ms") !=
        std::string::npos);
}

}  // namespace
}  // namespace vmm::virtio
