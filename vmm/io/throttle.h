// SPDX-License-Identifier: Apache-2.0
// Throttle: lets coroutines pass at limited rates, in the order in which they came.
//
// Two token buckets, of operations and of bytes. Each fills at its rate and holds what comes in a
// tenth of a second. Who passes may take more than is there; the next ones wait until the debt is
// paid. So an operation of any size passes, and the rate holds over time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"
#include "vmm/io/task.h"

namespace vmm {

// Per second; 0: no limit.
struct RateLimits {
  std::uint64_t operations = 0;
  std::uint64_t bytes = 0;
  bool operator==(const RateLimits&) const = default;
};

class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  // Tokens per second; 0: no limit. A debt made at the old rate is forgiven.
  void set_rate(std::uint64_t rate, Clock::time_point now);
  // How long nothing may be taken.
  std::chrono::nanoseconds delay(Clock::time_point now);
  void take(std::uint64_t amount);

 private:
  double rate_ = 0;
  double level_ = 0;  // negative: a debt
  Clock::time_point filled_at_;
};

class Throttle {
 public:
  // What waits need, made before a thread gives up the right to.
  static Result<UniqueFd> make_timer();
  Throttle(EventLoop& loop, UniqueFd timer) : loop_(loop), timer_(std::move(timer)), turn_(loop) {}

  // All on the loop's thread. Who waits is judged by the new limits.
  void set_limits(RateLimits limits);
  const RateLimits& limits() const { return limits_; }

  // False: pass() would not wait, and need not be called.
  bool limited() const { return limited_; }
  // One operation of so many bytes.
  Task<void> pass(std::uint64_t bytes);

  // Lets everybody pass, until close().
  void open();
  void close() { open_ = false; }

 private:
  void wake_after(std::chrono::nanoseconds delay);

  EventLoop& loop_;
  const UniqueFd timer_;
  RateLimits limits_;
  bool limited_ = false;
  bool open_ = false;
  TokenBucket operations_, bytes_;
  AsyncMutex turn_;  // its holder is the next one to pass
};

}  // namespace vmm
