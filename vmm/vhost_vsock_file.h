// SPDX-License-Identifier: Apache-2.0
// The file by which the host's kernel serves virtio socket devices: /dev/vhost-vsock.
#pragma once

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm {

// Whether open_vhost_vsock() would succeed, as far as one can see without effects.
Result<void> check_vhost_vsock();

// Errors name the flag, and say what to do.
Result<UniqueFd> open_vhost_vsock();

}  // namespace vmm
