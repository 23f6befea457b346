// SPDX-License-Identifier: Apache-2.0
// Puts an I/O thread into the sandbox.
#pragma once

#include "vmm/core/result.h"
#include "vmm/sandbox/thread_kind.h"

namespace vmm {

class IoThread;

namespace sandbox {
struct SandboxConfig;
}

// Before any guest code runs, once everything the thread needs is open. Whatever sets up its event
// loop's ring or thread pool happens here.
Result<void> confine_io(IoThread& thread, const sandbox::SandboxConfig& config);

// The same for the thread of a device that has a kind of its own, on whichever its event loop is.
Result<void> confine_io_as(IoThread& thread, const sandbox::SandboxConfig& config,
                           sandbox::ThreadKind kind);

}  // namespace vmm
