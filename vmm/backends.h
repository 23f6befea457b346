// SPDX-License-Identifier: Apache-2.0
// Backends: what serves a machine's devices from outside of it, begun before the process gives up
// its rights.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "devices/virtio/net_backend.h"
#include "devices/virtio/vsock_channel.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"
#include "vmm/share.h"

namespace vmm {

struct Backends {
  std::unique_ptr<virtio::NetBackend> net;    // the host's end of the network cable; may be nullptr
  std::vector<ShareBackend> shares;           // for MachineConfig::shares, or none at all
  std::optional<virtio::VsockChannel> vsock;  // of MachineConfig::Vsock::path
  UniqueFd vhost_vsock;                       // or of vhost
};

// Whether there is what open_backends() needs, as far as one can see without effects.
Result<void> check_backends(const MachineConfig& config);

// While programs may still be started. Errors name the flag.
Result<Backends> open_backends(const MachineConfig& config);

}  // namespace vmm
