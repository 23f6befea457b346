// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/throttle.h"

#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Takes `amount` as often as it may until `seconds` are over; gives how often that was.
int take_for(TokenBucket& bucket, std::uint64_t amount, int seconds) {
  const Clock::time_point start{};
  int nr_taken = 0;
  for (auto now = start; now < start + std::chrono::seconds(seconds); now += milliseconds(1)) {
    while (bucket.delay(now) == milliseconds(0)) {
      bucket.take(amount);
      ++nr_taken;
    }
  }
  return nr_taken;
}

TEST_CASE("TokenBucket: keeps its rate, whatever the amount", "[throttle]") {
  for (std::uint64_t amount : {1, 7, 100, 500}) {
    TokenBucket bucket;
    bucket.set_rate(100, Clock::time_point{});
    const double taken = static_cast<double>(amount) * take_for(bucket, amount, 50);
    CHECK(taken >= 100 * 50);
    CHECK(taken <= 100 * 50 + 10 + 2 * static_cast<double>(amount));
  }
}

TEST_CASE("TokenBucket: saves no more than a tenth of a second", "[throttle]") {
  TokenBucket bucket;
  bucket.set_rate(1000, Clock::time_point{});
  const auto later = Clock::time_point{} + std::chrono::hours(1);
  int nr_taken = 0;
  for (; bucket.delay(later) == milliseconds(0); ++nr_taken) bucket.take(1);
  CHECK(nr_taken == 101);
  CHECK(bucket.delay(later) == milliseconds(1));
}

TEST_CASE("TokenBucket: the largest rates and amounts do not overflow", "[throttle]") {
  TokenBucket bucket;
  bucket.set_rate(1, Clock::time_point{});
  bucket.take(UINT64_MAX);
  CHECK(bucket.delay(Clock::time_point{}) == std::chrono::hours(24));
  bucket.set_rate(UINT64_MAX, Clock::time_point{});
  CHECK(bucket.delay(Clock::time_point{}) == milliseconds(0));
}

Task<void> pass(Throttle& throttle, std::uint64_t bytes, int number, std::vector<int>& order) {
  co_await throttle.pass(bytes);
  order.push_back(number);
}

TEST_CASE("Throttle: passes one after the other, as fast as allowed", "[throttle]") {
  for (auto backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    Throttle throttle(*loop, *Throttle::make_timer());
    CHECK_FALSE(throttle.limited());
    throttle.set_limits({.operations = 0, .bytes = 100'000});
    CHECK(throttle.limited());
    std::vector<int> order;
    Gate gate(*loop);
    const auto start = Clock::now();
    for (int i = 0; i < 5; ++i) spawn(gate, pass(throttle, 5000, i, order));
    CHECK(order == std::vector<int>{0});
    loop->run_until(gate.close());
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
    CHECK(Clock::now() - start >= milliseconds(195));  // 20,000 bytes were waited for
  }
}

TEST_CASE("Throttle: new limits reach those that wait, and open() lets all pass", "[throttle]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Throttle throttle(*loop, *Throttle::make_timer());
  for (bool lift : {true, false}) {
    throttle.set_limits({.operations = 1});
    std::vector<int> order;
    Gate gate(*loop);
    for (int i = 0; i < 100; ++i) spawn(gate, pass(throttle, 0, i, order));
    CHECK(order.size() < 3);
    if (lift) {
      throttle.set_limits({});
    } else {
      throttle.open();
    }
    const auto start = Clock::now();
    loop->run_until(gate.close());
    CHECK(order.size() == 100);
    CHECK(Clock::now() - start < std::chrono::seconds(30));
    throttle.close();
    throttle.set_limits({});
  }
}

}  // namespace
}  // namespace vmm
