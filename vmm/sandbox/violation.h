// SPDX-License-Identifier: Apache-2.0
// What happens when a filter stops a system call: the kernel sends SIGSYS to the thread, and the
// handler says which call it was and ends the process.
#pragma once

#include "vmm/core/result.h"
#include "vmm/sandbox/thread_kind.h"

namespace vmm::sandbox {

// Once per process; it lasts.
Result<void> install_violation_handler();

// On each thread, before its filter: what the handler will call it; lets SIGSYS through.
void prepare_for_violations(ThreadKind kind);

}  // namespace vmm::sandbox
