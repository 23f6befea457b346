// SPDX-License-Identifier: Apache-2.0
// Real threads of each kind, confined as the machine confines them.
#pragma once

#include <functional>

#include "vmm/sandbox/sandbox.h"

namespace vmm::sandbox::testing {

// In a child process: puts a thread of `kind` under its sandbox and runs `act` there. An I/O thread
// is an IoThread with its event loop, in use before and after.
void act_confined(ThreadKind kind, const std::function<void()>& act);

}  // namespace vmm::sandbox::testing
