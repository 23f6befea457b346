// SPDX-License-Identifier: Apache-2.0
// The log: spdlog behind four functions, so that only log.cc pays for compiling spdlog.
//
// Lines go to stderr. What a guest can trigger as often as it likes goes through RateLimit.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>

namespace vmm::log {

enum class Level { kDebug, kInfo, kWarning, kError };

void set_level(Level level);  // lines below it are dropped; kWarning at start
bool enabled(Level level);
void write(Level level, std::string_view line);

template <class... Args>
void print(Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write(level, fmt::vformat(format, fmt::make_format_args(args...)));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  print(Level::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  print(Level::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  print(Level::kWarning, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  print(Level::kError, format, std::forward<Args>(args)...);
}

// Lets the first `limit` lines of one kind through, then says once that the rest is dropped. Any
// thread.
class RateLimit {
 public:
  explicit RateLimit(std::uint32_t limit = 10) : limit_(limit) {}

  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    std::uint32_t nr = nr_lines_.load(std::memory_order_relaxed);
    if (nr > limit_) return;
    nr = nr_lines_.fetch_add(1, std::memory_order_relaxed);
    if (nr < limit_) log::warn(format, std::forward<Args>(args)...);
    if (nr == limit_) log::warn("further warnings of this kind are not shown");
  }

 private:
  const std::uint32_t limit_;
  std::atomic<std::uint32_t> nr_lines_ = 0;
};

}  // namespace vmm::log
