// SPDX-License-Identifier: Apache-2.0
// What the two kinds of vhost have in common: the kernel's (linux/vhost.h) and the one between
// processes (vhost_user.h), which took over its structures.
#pragma once

#include <cstdint>

#include "devices/virtio/queue.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"
#include "vmm/core/vhost_abi.h"

namespace vmm::virtio {

// What the transports offer to drivers, so that whoever serves the queues must know it.
constexpr std::uint64_t kVhostWantedFeatures =
    kFeatureIndirectDesc | kFeatureEventIdx | kFeatureVersion1;

// Where this process has the rings of queue `index`. `layout` is guest-controlled: kOutOfRange
// where it is not in guest memory.
Result<vhost_vring_addr> vhost_ring_addresses(unsigned index, const QueueLayout& layout,
                                              const GuestMemory& memory);

}  // namespace vmm::virtio
