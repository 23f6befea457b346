// SPDX-License-Identifier: Apache-2.0
// The host's end of a machine's network cable.
#pragma once

#include <memory>

#include "devices/virtio/net_backend.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm {

// Whether there is what plug_in() needs, as far as one can see without effects.
Result<void> check_plug(const MachineConfig::Net& net);

// nullptr where the machine shall have none. Before the sandbox is entered.
Result<std::unique_ptr<virtio::NetBackend>> plug_in(const MachineConfig::Net& net);

}  // namespace vmm
