// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/calls.h"

#include <sys/eventfd.h>

#include <cerrno>

namespace vmm::virtio {

Result<void> Calls::open(std::size_t nr_queues) {
  while (descriptors_.size() < nr_queues) {
    descriptors_.emplace_back(::eventfd(0, EFD_CLOEXEC));
    if (!descriptors_.back()) return fail_errno(errno, "eventfd");
  }
  return {};
}

void Calls::start(std::size_t queue, Interrupt& interrupt) {
  spawn(gate_, forward(descriptor(queue), interrupt));
}

Task<void> Calls::stop() {
  stopping_ = true;
  for (const UniqueFd& descriptor : descriptors_) ::eventfd_write(descriptor.get(), 1);
  co_await gate_.close();
  gate_.reopen();
  stopping_ = false;
}

Task<void> Calls::forward(int descriptor, Interrupt& interrupt) {
  while (!stopping_) {
    const std::int64_t count = co_await loop_.next_event(descriptor);
    if (count < 0 || stopping_) co_return;
    interrupt.signal();
  }
}

}  // namespace vmm::virtio
