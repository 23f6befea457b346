// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/console_log.h"

#include <unistd.h>

#include <algorithm>

namespace vmm::control {

void ConsoleLog::append(std::span<const std::byte> bytes) {
  {
    std::lock_guard lock(mutex_);
    bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (bytes_.size() > 2 * kCapacity) {
      const std::size_t dropped = bytes_.size() - kCapacity;
      bytes_.erase(0, dropped);
      start_ += dropped;
    }
    end_.store(start_ + bytes_.size(), std::memory_order_release);
  }
  const int fd = wake_fd_.load();
  if (fd < 0) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = ::write(fd, &one, sizeof one);
}

std::string ConsoleLog::read(std::uint64_t& position, std::size_t limit) const {
  std::lock_guard lock(mutex_);
  const std::uint64_t last = start_ + bytes_.size();
  const std::uint64_t kept = last - std::min<std::uint64_t>(bytes_.size(), kCapacity);
  position = std::clamp(position, kept, last);
  std::string part = bytes_.substr(static_cast<std::size_t>(position - start_), limit);
  position += part.size();
  return part;
}

}  // namespace vmm::control
