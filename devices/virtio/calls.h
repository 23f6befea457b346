// SPDX-License-Identifier: Apache-2.0
// Calls: how whoever serves a device's queues from outside of this process (vhost) says that it has
// used buffers: an eventfd for each queue. Interrupts go by the transport all the same, which knows
// which of them the guest has masked.
#pragma once

#include <cstddef>
#include <vector>

#include "vmm/core/interrupt.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm::virtio {

class Calls {
 public:
  explicit Calls(EventLoop& loop) : loop_(loop), gate_(loop) {}

  // Makes the eventfds, while that is allowed.
  Result<void> open(std::size_t nr_queues);

  // What follows is for the loop's thread.
  int descriptor(std::size_t queue) const { return descriptors_[queue].get(); }
  // From now until stop() `interrupt` follows the calls of this queue. At most once.
  void start(std::size_t queue, Interrupt& interrupt);
  // After it no interrupt is touched; then start() may be called again.
  Task<void> stop();

 private:
  Task<void> forward(int descriptor, Interrupt& interrupt);

  EventLoop& loop_;
  std::vector<UniqueFd> descriptors_;
  bool stopping_ = false;
  Gate gate_;
};

}  // namespace vmm::virtio
