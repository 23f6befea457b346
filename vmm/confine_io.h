// SPDX-License-Identifier: Apache-2.0
// Puts an I/O thread into the sandbox.
#pragma once

#include "vmm/core/result.h"

namespace vmm {

class IoThread;

namespace sandbox {
struct SandboxConfig;
}

// Before any guest code runs, once everything the thread needs is open. Whatever sets up its event
// loop's ring or thread pool happens here.
Result<void> confine_io(IoThread& thread, const sandbox::SandboxConfig& config);

// The same for the thread of a device that another process serves.
Result<void> confine_vhost_user(IoThread& thread, const sandbox::SandboxConfig& config);

// The same for the thread of a virtio socket device.
Result<void> confine_vsock(IoThread& thread, const sandbox::SandboxConfig& config);
// One whose device the kernel serves.
Result<void> confine_vhost(IoThread& thread, const sandbox::SandboxConfig& config);

}  // namespace vmm
