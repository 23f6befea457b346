// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/sync.h"

#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

Task<void> critical_section(EventLoop& loop, AsyncMutex& mutex, std::vector<int>& log, int id) {
  AsyncMutex::Lock lock = co_await mutex.lock();
  log.push_back(id);
  co_await loop.yield();
  log.push_back(id);
}

Task<void> count_after_yields(EventLoop& loop, int nr_yields, int& count) {
  for (int i = 0; i < nr_yields; ++i) co_await loop.yield();
  ++count;
}

TEST_CASE("AsyncMutex: sections do not interleave and keep their order", "[io]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  AsyncMutex mutex(*loop);
  Gate gate(*loop);
  std::vector<int> log;
  for (int id = 0; id < 3; ++id) spawn(gate, critical_section(*loop, mutex, log, id));
  loop->run_until(gate.close());
  CHECK(log == std::vector<int>{0, 0, 1, 1, 2, 2});
}

Task<void> wait_and_log(WaitQueue& queue, std::vector<int>& log, int id) {
  co_await queue.wait();
  log.push_back(id);
  if (id == 0) {
    co_await queue.wait();
    log.push_back(10);
  }
}

TEST_CASE("WaitQueue: waiters wake in order, and one who waits again is not woken by the same call",
          "[io]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  WaitQueue queue(*loop);
  Gate gate(*loop);
  std::vector<int> log;
  for (int id = 0; id < 3; ++id) spawn(gate, wait_and_log(queue, log, id));
  queue.notify_one();
  CHECK(log.empty());  // never inside the waker
  int turns = 0;
  loop->run_until(count_after_yields(*loop, 2, turns));
  CHECK(log == std::vector<int>{0});
  queue.notify_all();
  loop->run_until(gate.close());
  CHECK(log == std::vector<int>{0, 1, 2, 10});
  CHECK(queue.empty());
}

TEST_CASE("Gate: close comes back after the last one has left", "[io]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Gate gate(*loop);
  int count = 0;
  for (int i = 0; i < 5; ++i) spawn(gate, count_after_yields(*loop, i, count));
  CHECK(count == 1);  // the one that never yields
  loop->run_until(gate.close());
  CHECK(count == 5);
  CHECK(gate.closed());
  gate.reopen();
  CHECK(!gate.closed());
}

}  // namespace
}  // namespace vmm
