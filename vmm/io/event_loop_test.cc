// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/event_loop.h"
#include "vmm/io/blocking_backend.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>

#include "vmm/core/testing/catch.h"
#include "vmm/io/blocking_backend.h"
#include "vmm/io/sync.h"

namespace vmm {
namespace {

UniqueFd temporary_file() {
  char path[] = "/tmp/vmm-io-test-XXXXXX";
  UniqueFd fd(::mkostemp(path, O_CLOEXEC));
  ::unlink(path);
  return fd;
}

Task<void> write_one(EventLoop& loop, int fd, int block, std::int64_t& result) {
  std::string text(512, static_cast<char>('a' + block % 26));
  iovec iov{text.data(), text.size()};
  result = co_await loop.writev(fd, IoVec(&iov, 1), static_cast<std::uint64_t>(block) * 512);
}

Task<std::int64_t> sync_and_check(EventLoop& loop, int fd, int nr_blocks) {
  std::int64_t synced = co_await loop.fdatasync(fd);
  if (synced < 0) co_return synced;
  std::int64_t wrong = 0;
  for (int block = 0; block < nr_blocks; ++block) {
    std::string head(2, '\0'), tail(510, '\0');
    std::array<iovec, 2> iov{{{head.data(), 2}, {tail.data(), 510}}};
    std::int64_t got = co_await loop.readv(fd, iov, static_cast<std::uint64_t>(block) * 512);
    const std::string expected(512, static_cast<char>('a' + block % 26));
    if (got != 512 || head + tail != expected) ++wrong;
  }
  co_return wrong;
}

Task<void> count_events(EventLoop& loop, int event_fd, std::uint64_t until, std::uint64_t& total) {
  while (total < until) {
    std::int64_t count = co_await loop.next_event(event_fd);
    if (count <= 0) co_return;
    total += static_cast<std::uint64_t>(count);
  }
}

const auto kBackends = {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool};

// As to a device: some go to the kernel before the turn ends.
Task<void> write_direct(EventLoop& loop, int fd, int block, std::int64_t& result) {
  std::string text(512, static_cast<char>('a' + block % 26));
  iovec iov{text.data(), text.size()};
  result = co_await loop.writev(fd, IoVec(&iov, 1), static_cast<std::uint64_t>(block) * 512,
                                /*direct=*/true);
}

TEST_CASE("EventLoop: transfers to a device are all carried out, few or many", "[io]") {
  for (EventLoop::Backend kind : kBackends) {
    for (int nr_blocks : {1, 3, 4, 5, 1000}) {
      std::unique_ptr<EventLoop> loop = *EventLoop::create(kind);
      UniqueFd file = temporary_file();
      REQUIRE(file);
      std::vector<std::int64_t> results(static_cast<std::size_t>(nr_blocks));
      std::vector<Task<void>> tasks;
      for (int block = 0; block < nr_blocks; ++block) {
        tasks.push_back(
            write_direct(*loop, file.get(), block, results[static_cast<std::size_t>(block)]));
      }
      for (Task<void>& task : tasks) loop->run_until(std::move(task));
      CHECK(results == std::vector<std::int64_t>(results.size(), 512));
      CHECK(loop->run_until(sync_and_check(*loop, file.get(), nr_blocks)) == 0);
    }
  }
}

TEST_CASE("EventLoop: works with blocking calls alone", "[io]") {
  struct Only {
    Only() { allow_only_blocking_calls(); }
    ~Only() { allow_only_blocking_calls(false); }
  } only;
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  UniqueFd file = temporary_file();
  REQUIRE(file);
  std::vector<std::int64_t> results(3);
  for (int block = 0; block < 3; ++block) {
    loop->run_until(write_one(*loop, file.get(), block, results[static_cast<std::size_t>(block)]));
  }
  CHECK(results == std::vector<std::int64_t>(3, 512));
  CHECK(loop->run_until(sync_and_check(*loop, file.get(), 3)) == 0);
  CHECK(std::string(loop->backend_name()) == "blocking calls");

  UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  REQUIRE(::eventfd_write(event.get(), 4) == 0);
  std::uint64_t total = 0;
  loop->run_until(count_events(*loop, event.get(), 4, total));
  CHECK(total == 4);
}

TEST_CASE("EventLoop: more writes at once than the ring has entries all arrive", "[io]") {
  for (EventLoop::Backend backend : kBackends) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    UniqueFd file = temporary_file();
    REQUIRE(file);
    constexpr int kBlocks = 700;
    std::vector<std::int64_t> results(kBlocks);
    Gate gate(*loop);
    for (int block = 0; block < kBlocks; ++block) {
      spawn(gate, write_one(*loop, file.get(), block, results[static_cast<std::size_t>(block)]));
    }
    CHECK(loop->nr_in_flight() == kBlocks);
    loop->run_until(gate.close());
    CHECK(results == std::vector<std::int64_t>(kBlocks, 512));
    CHECK(loop->run_until(sync_and_check(*loop, file.get(), kBlocks)) == 0);
    INFO(loop->backend_name());
    CHECK(loop->nr_in_flight() == 0);
  }
}

TEST_CASE("EventLoop: a failed operation gives its errno", "[io]") {
  for (EventLoop::Backend backend : kBackends) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    Gate gate(*loop);
    std::int64_t result = 0;
    spawn(gate, write_one(*loop, -1, 0, result));
    loop->run_until(gate.close());
    CHECK(result == -EBADF);
  }
}

TEST_CASE("EventLoop: events signalled from another thread are all counted", "[io]") {
  for (EventLoop::Backend backend : kBackends) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    std::uint64_t total = 0;
    std::thread signaller([&] {
      for (int i = 0; i < 1000; ++i) ::eventfd_write(event.get(), 1);
    });
    loop->run_until(count_events(*loop, event.get(), 1000, total));
    signaller.join();
    CHECK(total == 1000);
  }
}

Task<void> wait_for_room(EventLoop& loop, int fd, int events, std::int64_t& shown) {
  shown = co_await loop.poll(fd, events);
}

TEST_CASE("EventLoop: a poll comes back when its descriptor is ready, and takes nothing from it",
          "[io]") {
  for (EventLoop::Backend kind : kBackends) {
    auto loop = *EventLoop::create(kind);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    UniqueFd reader(ends[0]), writer(ends[1]);
    std::int64_t shown = -1;
    loop->run_until(wait_for_room(*loop, writer.get(), POLLOUT, shown));
    CHECK(shown == POLLOUT);

    shown = -1;
    Task<void> waiting = wait_for_room(*loop, reader.get(), POLLIN, shown);
    CHECK(!waiting.done());
    REQUIRE(::write(writer.get(), "x", 1) == 1);
    loop->run_until(std::move(waiting));
    CHECK(shown == POLLIN);
    char byte = 0;
    CHECK(::read(reader.get(), &byte, 1) == 1);
    CHECK(byte == 'x');
    writer.reset();
    loop->run_until(wait_for_room(*loop, reader.get(), POLLIN, shown));
    CHECK((shown & POLLHUP) != 0);
  }
}

TEST_CASE("EventLoop: posted work runs on the loop's thread, in order, and stop() ends run()",
          "[io]") {
  for (EventLoop::Backend backend : kBackends) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    std::vector<int> seen;
    std::atomic<bool> same_thread = true;
    std::thread runner([&] { loop->run(); });
    const std::thread::id expected = runner.get_id();
    for (int i = 0; i < 100; ++i) {
      loop->post([&, i] {
        seen.push_back(i);
        if (std::this_thread::get_id() != expected) same_thread = false;
      });
    }
    loop->post([&] { loop->stop(); });
    runner.join();
    CHECK(same_thread);
    REQUIRE(seen.size() == 100);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
  }
}

struct CountingHook : EventLoop::TurnHook {
  int calls = 0;
  void on_turn_end() override { ++calls; }
};

Task<void> ask_three_times(EventLoop& loop, CountingHook& hook) {
  for (int i = 0; i < 3; ++i) loop.call_at_turn_end(hook);
  co_await loop.yield();
}

TEST_CASE("EventLoop: a turn hook asked for several times in a turn runs once", "[io]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  CountingHook hook;
  loop->run_until(ask_three_times(*loop, hook));
  CHECK(hook.calls == 1);
}

}  // namespace
}  // namespace vmm
