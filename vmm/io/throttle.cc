// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/throttle.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>

namespace vmm {
namespace {

using std::chrono::nanoseconds;

constexpr double kBurst = 0.1;      // seconds
constexpr double kLongest = 86400;  // seconds: what is asked again later anyway

}  // namespace

void TokenBucket::set_rate(std::uint64_t rate, Clock::time_point now) {
  rate_ = static_cast<double>(rate);
  level_ = std::clamp(level_, 0.0, rate_ * kBurst);
  filled_at_ = now;
}

nanoseconds TokenBucket::delay(Clock::time_point now) {
  if (rate_ == 0) return nanoseconds(0);
  const std::chrono::duration<double> passed = now - filled_at_;
  filled_at_ = now;
  level_ = std::min(level_ + passed.count() * rate_, rate_ * kBurst);
  if (level_ >= 0) return nanoseconds(0);
  const std::chrono::duration<double> debt(std::min(-level_ / rate_, kLongest));
  return std::chrono::ceil<nanoseconds>(debt);
}

void TokenBucket::take(std::uint64_t amount) {
  if (rate_ != 0) level_ -= static_cast<double>(amount);
}

Result<UniqueFd> Throttle::make_timer() {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return fail_errno(errno, "making a timer for rate limits");
  return timer;
}

// Takes back what the timer has shown. A delay of 0 would stop it.
void Throttle::wake_after(nanoseconds delay) {
  delay = std::max(delay, nanoseconds(1));
  const auto seconds = std::chrono::floor<std::chrono::seconds>(delay);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = (delay - seconds).count();
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
}

void Throttle::set_limits(RateLimits limits) {
  const auto now = TokenBucket::Clock::now();
  if (limits.operations != limits_.operations) operations_.set_rate(limits.operations, now);
  if (limits.bytes != limits_.bytes) bytes_.set_rate(limits.bytes, now);
  limits_ = limits;
  limited_ = limits != RateLimits{};
  wake_after(nanoseconds(0));
}

void Throttle::open() {
  open_ = true;
  wake_after(nanoseconds(0));
}

Task<void> Throttle::pass(std::uint64_t bytes) {
  const AsyncMutex::Lock turn = co_await turn_.lock();
  while (!open_) {
    const auto now = TokenBucket::Clock::now();
    const nanoseconds delay = std::max(operations_.delay(now), bytes_.delay(now));
    if (delay == nanoseconds(0)) break;
    wake_after(delay);
    co_await loop_.poll(timer_.get(), POLLIN);
  }
  operations_.take(1);
  bytes_.take(bytes);
}

}  // namespace vmm
