// SPDX-License-Identifier: Apache-2.0
// Waiting in tests for what another thread or process does. The limit is for what never comes:
// on a busy machine what takes microseconds can take seconds.
#pragma once

#include <chrono>
#include <thread>

namespace vmm::testing {

inline constexpr std::chrono::seconds kPatience(60);

class Deadline {
 public:
  bool passed() const { return Clock::now() >= end_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_ = Clock::now() + kPatience;
};

// Whether the condition holds, now or soon.
template <class Condition>
bool comes_true(Condition condition) {
  const Deadline deadline;
  while (!condition()) {
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace vmm::testing
