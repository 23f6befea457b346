// SPDX-License-Identifier: Apache-2.0
// ConsoleLog: the end of what a guest's console has said, for clients that look on. The guest is
// not held up by who reads slowly: such a reader misses something.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

namespace vmm::control {

class ConsoleLog {
 public:
  static constexpr std::size_t kCapacity = 64 << 10;  // bytes

  // From any thread.
  void append(std::span<const std::byte> bytes);

  // From any thread. At most `limit` bytes of what was said from `position` on, which is counted
  // from the beginning; it moves behind them, and over what is not kept any more.
  std::string read(std::uint64_t& position, std::size_t limit) const;
  std::uint64_t end() const { return end_.load(std::memory_order_acquire); }

  // An eventfd that is told of every append(); -1: none. It must stay until nobody appends.
  void set_wake_fd(int fd) { wake_fd_.store(fd); }

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::string bytes_;         // at most 2 * kCapacity, so that what is dropped is dropped seldom
  std::uint64_t start_ = 0;   // position of the first of them

  std::atomic<std::uint64_t> end_ = 0;
  std::atomic<int> wake_fd_ = -1;
};

}  // namespace vmm::control
