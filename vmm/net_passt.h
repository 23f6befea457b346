// SPDX-License-Identifier: Apache-2.0
// passt (https://passt.top) as the other end of the guest's network cable: it carries the guest's
// connections with sockets of the user's own, and needs no rights for that.
#pragma once

#include <memory>

#include "devices/virtio/net_backend.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm {

// Starts passt. It ends when the backend does. While programs may still be started.
Result<std::unique_ptr<virtio::NetBackend>> start_passt(const MachineConfig::Net& net);

}  // namespace vmm
