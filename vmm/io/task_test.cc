// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/task.h"

#include <memory>

#include "vmm/core/result.h"
#include "vmm/core/testing/catch.h"
#include "vmm/io/event_loop.h"

namespace vmm {
namespace {

Task<int> immediate(int value) {
  co_return value;
}

Task<std::int64_t> sum_of(int count) {
  std::int64_t sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await immediate(1);
  co_return sum;
}

Task<std::unique_ptr<int>> yields_then_gives(EventLoop& loop, int value) {
  co_await loop.yield();
  co_return std::make_unique<int>(value);
}

Task<Result<int>> fails() {
  co_return fail(ErrorKind::kInvalid, "no");
}

Task<Result<int>> propagates() {
  VMM_CO_TRY(int value, co_await fails());
  co_return value + 1;
}

TEST_CASE("Task: a million awaits that complete at once use no stack", "[io]") {
  Task<std::int64_t> task = sum_of(1'000'000);
  REQUIRE(task.done());
  CHECK(task.take() == 1'000'000);
}

TEST_CASE("Task: a value that only moves comes through a suspension", "[io]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  CHECK(*loop->run_until(yields_then_gives(*loop, 3)) == 3);
}

TEST_CASE("Task: VMM_CO_TRY hands errors up", "[io]") {
  Task<Result<int>> task = propagates();
  REQUIRE(task.done());
  CHECK(task.take().error().message() == "no");
}

}  // namespace
}  // namespace vmm
