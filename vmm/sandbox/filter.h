// SPDX-License-Identifier: Apache-2.0
// The system call filters: precompiled BPF programs (policy.cc), one per kind of thread.
#pragma once

#include "vmm/core/result.h"
#include "vmm/sandbox/thread_kind.h"

namespace vmm::sandbox {

// "a vCPU thread"
const char* thread_kind_name(ThreadKind kind);

// The name of a system call of this architecture, "?" for an unknown number.
const char* call_name(int number);

// Puts the calling thread under the filter of `kind`, for good; threads it makes inherit it. Needs
// no_new_privs, and the handler of violation.h in place.
Result<void> install_filter(ThreadKind kind);

}  // namespace vmm::sandbox
