// SPDX-License-Identifier: Apache-2.0
// passt (https://passt.top) as the other end of the guest's network cable: it carries the guest's
// connections with sockets of the user's own, and needs no rights for that.
#pragma once

#include <memory>

#include "devices/virtio/net_backend.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm {

// Whether there is a passt to start, or the socket that `net` names.
Result<void> check_passt(const MachineConfig::Net& net);

// Starts passt, which ends when the backend does, or connects to the one that listens at
// net.socket. While programs may still be started. Errors say what to do.
Result<std::unique_ptr<virtio::NetBackend>> open_passt(const MachineConfig::Net& net);

}  // namespace vmm
