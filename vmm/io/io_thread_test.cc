// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/io_thread.h"

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

Task<Result<std::thread::id>> thread_after_yield(EventLoop& loop) {
  co_await loop.yield();
  co_return std::this_thread::get_id();
}

TEST_CASE("IoThread: calls run on its thread and bring their value back", "[io]") {
  std::unique_ptr<IoThread> thread = *IoThread::start("test-io");
  for (int i = 0; i < 100; ++i) {
    Result<std::thread::id> id = thread->call([&] { return thread_after_yield(thread->loop()); });
    REQUIRE(id);
    CHECK(*id != std::this_thread::get_id());
  }
}

}  // namespace
}  // namespace vmm
