// SPDX-License-Identifier: Apache-2.0
// A tap device of the host as the other end of the guest's network cable.
#pragma once

#include <memory>
#include <string>

#include "devices/virtio/net_backend.h"
#include "vmm/core/result.h"

namespace vmm {

// Whether this user may open tap devices, before a start. Errors as open_tap's.
Result<void> check_tap();

// Opens the tap device `name` (at most 15 characters), making it where there is none; empty: the
// host chooses a name. Errors say what to do. While files may still be opened.
Result<std::unique_ptr<virtio::NetBackend>> open_tap(const std::string& name);

}  // namespace vmm
