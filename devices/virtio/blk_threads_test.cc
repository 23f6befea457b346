// SPDX-License-Identifier: Apache-2.0
// The device on its I/O thread, the driver on another, as in a running machine.
#include <chrono>
#include <thread>

#include "devices/testing/blk_bench.h"
#include "vmm/core/testing/catch.h"
#include "vmm/io/io_thread.h"

namespace vmm::virtio {
namespace {

using testing::BlkBench;
using testing::BlkBenchOptions;
using testing::BlkCommand;
using testing::QueueDriver;
using testing::Used;

struct Threaded {
  explicit Threaded(BlkBenchOptions options = {},
                    EventLoop::Backend backend = EventLoop::Backend::kAuto)
      : thread(*IoThread::start("test-disk", backend)), bench(thread->loop(), options) {
    bench.disk.yields = true;
  }
  ~Threaded() { bench.transport->stop(); }

  std::unique_ptr<IoThread> thread;
  BlkBench bench;
};

// A vCPU that keeps one queue busy. What several of them share is looked up in the constructor.
class Vcpu {
 public:
  Vcpu(BlkBench& bench, std::uint16_t index, unsigned depth)
      : bench_(bench), index_(index), notify_(bench.driver->notify_address(index)) {
    for (unsigned i = 0; i < depth; ++i) {
      commands_.push_back(bench.command(BlkType::kOut, index * 64u + i, 512));
      idle_.push_back(i);
    }
  }

  // Sends so many writes, kicks only when asked to, and returns how many went wrong.
  unsigned run(unsigned nr_requests) {
    const auto patience = std::chrono::seconds(60);  // without any progress, on a loaded host
    auto progress = std::chrono::steady_clock::now();
    nr_done_ = 0;
    for (unsigned nr_sent = 0; nr_done_ < nr_requests;) {
      while (nr_sent < nr_requests && !idle_.empty() && queue().nr_free() >= 3) send(nr_sent++);
      if (queue().needs_kick() && !bench_.kicks.store(GuestAddress(notify_), 0)) {
        bench_.buses.write(notify_, 2, index_);
      }
      while (std::optional<Used> used = queue().take_used()) {
        take(*used);
        progress = std::chrono::steady_clock::now();
      }
      if (std::chrono::steady_clock::now() - progress > patience) {
        return nr_wrong_ + nr_requests - nr_done_;
      }
      std::this_thread::yield();
    }
    return nr_wrong_;
  }

 private:
  QueueDriver& queue() { return bench_.queue(index_); }
  void send(unsigned number) {
    unsigned which = idle_.back();
    idle_.pop_back();
    bench_.fill(commands_[which].data, 512, static_cast<std::uint8_t>(number));
    bench_.fill(commands_[which].status, 1, 0xee);
    in_flight_[queue().add(commands_[which].buffers())] = which;
  }
  void take(const Used& used) {
    unsigned which = in_flight_.at(used.id);
    in_flight_.erase(used.id);
    if (bench_.status_of(commands_[which]) != 0 || used.length != 1) ++nr_wrong_;
    idle_.push_back(which);
    ++nr_done_;
  }

  BlkBench& bench_;
  const std::uint16_t index_;
  const std::uint64_t notify_;
  std::vector<BlkCommand> commands_;
  std::vector<unsigned> idle_;
  std::map<std::uint32_t, unsigned> in_flight_;  // head -> command
  unsigned nr_done_ = 0;
  unsigned nr_wrong_ = 0;
};

TEST_CASE("Blk: no kick and no completion is lost between the driver's thread and the device's",
          "[blk][threads]") {
  for (EventLoop::Backend backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    for (std::uint64_t features : {kFeatureVersion1, BlkBench::kAllFeatures}) {
      for (bool ioeventfd : {true, false}) {
        Threaded test({.ioeventfd = ioeventfd}, backend);
        test.bench.start(features);
        for (unsigned depth : {1u, 5u}) CHECK(Vcpu(test.bench, 0, depth).run(150 * depth) == 0);
      }
    }
  }
}

TEST_CASE("Blk: two vCPUs drive a queue each", "[blk][threads]") {
  BlkBenchOptions options;
  options.blk.nr_queues = 2;
  Threaded test(options);
  test.bench.start(BlkBench::kAllFeatures | kBlkMultiQueue);
  Vcpu first(test.bench, 0, 4), second(test.bench, 1, 4);
  unsigned nr_wrong = 1;
  std::thread other([&] { nr_wrong = second.run(800); });
  CHECK(first.run(800) == 0);
  other.join();
  CHECK(nr_wrong == 0);
}

TEST_CASE("Blk: resets from the driver's thread while requests are in flight lose nothing",
          "[blk][threads]") {
  Threaded test;
  for (int round = 0; round < 40; ++round) {
    test.bench.arena = testing::GuestArena(GuestAddress(0x1000), BlkBench::kMemory - 0x1000);
    test.bench.start();
    for (int i = 0; i < 5; ++i) {
      test.bench.queue().add(test.bench.command(BlkType::kOut, 0, 512).buffers());
    }
    test.bench.driver->kick(0);
    if (round % 2 == 0) std::this_thread::yield();
    test.bench.driver->set_status(0);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (test.bench.driver->status() != 0) {
      if (std::chrono::steady_clock::now() > deadline) FAIL("the reset never ended");
      std::this_thread::yield();
    }
    // From here on the rings are the driver's again: nothing may write to them.
    std::uint16_t index = test.bench.queue().used_index();
    CHECK(index <= 5);
  }
}

}  // namespace
}  // namespace vmm::virtio
