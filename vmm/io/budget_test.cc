// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/budget.h"

#include <memory>
#include <vector>

#include "vmm/core/testing/catch.h"
#include "vmm/io/sync.h"

namespace vmm {
namespace {

struct Bench {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Budget budget{*loop, 10};
  Gate gate{*loop};
  WaitQueue end{*loop};
  std::vector<int> begun;

  Task<void> use(std::uint64_t amount, int number) {
    const Budget::Share share = co_await budget.take(amount);
    begun.push_back(number);
    co_await end.wait();
  }
  static Task<bool> turns(EventLoop& loop) {
    for (int i = 0; i < 5; ++i) co_await loop.yield();
    co_return true;
  }
  void settle() { loop->run_until(turns(*loop)); }
};

TEST_CASE("Budget: who comes first is served first, and no more is out than there is", "[io]") {
  Bench bench;
  spawn(bench.gate, bench.use(6, 1));
  spawn(bench.gate, bench.use(6, 2));
  spawn(bench.gate, bench.use(1, 3));  // would fit, but has to wait for the one before
  CHECK(bench.begun == std::vector<int>{1});
  CHECK(bench.budget.left() == 4);
  bench.end.notify_one();
  bench.settle();
  CHECK(bench.begun == std::vector<int>{1, 2, 3});
  CHECK(bench.budget.left() == 3);
  bench.end.notify_all();
  bench.settle();
  CHECK(bench.budget.left() == 10);
}

TEST_CASE("Budget: who wants more than all gets all", "[io]") {
  Bench bench;
  spawn(bench.gate, bench.use(1, 1));
  spawn(bench.gate, bench.use(1000, 2));
  spawn(bench.gate, bench.use(10, 3));
  for (std::size_t nr_begun : {1, 2, 3}) {
    bench.settle();
    CHECK(bench.begun.size() == nr_begun);
    bench.end.notify_one();
  }
  bench.settle();
  CHECK(bench.budget.left() == 10);
}

}  // namespace
}  // namespace vmm
