// SPDX-License-Identifier: Apache-2.0
// A tap device of the host as the other end of the guest's network cable.
#pragma once

#include <memory>
#include <string>

#include "devices/virtio/net_backend.h"
#include "vmm/core/result.h"

namespace vmm {

// Opens the tap device `name`, making it where there is none; empty: the host chooses a name.
// Errors say what to do. While files may still be opened.
Result<std::unique_ptr<virtio::NetBackend>> open_tap(const std::string& name);

}  // namespace vmm
