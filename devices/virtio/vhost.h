// SPDX-License-Identifier: Apache-2.0
// Vhost: a device whose queues the kernel serves in the guest's memory itself (linux/vhost.h),
// through a file like /dev/vhost-vsock. The kernel reads the rings by itself, so that of what the
// guest puts there nothing comes by here.
#pragma once

#include <cstdint>

#include "devices/virtio/queue.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

class Vhost {
 public:
  // `device`: that file, open for reading and writing; nobody else has used it.
  explicit Vhost(UniqueFd device) : device_(std::move(device)) {}

  int descriptor() const { return device_.get(); }

  // Once, first, in the process that has the guest's memory. Gives the features that the kernel
  // has, those of queues and of the device's type. kUnsupported where the transports need more.
  Result<std::uint64_t> begin();

  // What follows is for a device that does not run. Bits that the kernel has no say in are left
  // out.
  Result<void> set_driver_features(std::uint64_t features);
  Result<void> set_memory(const GuestMemory& memory);
  // `kick_fd` and `call_fd` are eventfds. `layout` is guest-controlled: fails where its rings are
  // not in guest memory, or make no sense.
  Result<void> set_queue(unsigned index, const QueueLayout& layout, const GuestMemory& memory,
                         int kick_fd, int call_fd);
  // Afterwards the eventfds are not used any more.
  void forget_queue(unsigned index);

 private:
  template <class Argument>
  Result<void> set(unsigned long request, const char* name, const Argument& argument);

  UniqueFd device_;
  std::uint64_t features_ = 0;
};

}  // namespace vmm::virtio
