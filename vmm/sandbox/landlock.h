// SPDX-License-Identifier: Apache-2.0
// Landlock: no file can be opened, made, renamed or run by path any more, and no TCP port used,
// where the kernel has it (Linux 5.13 and later, if enabled). Files that are open stay open.
#pragma once

#include "vmm/core/result.h"

namespace vmm::sandbox {

// The ABI version of the running kernel, 0 where Landlock is absent or off.
int landlock_version();

// The calling thread, and threads it makes. Does nothing where the version is 0. Needs
// no_new_privs.
Result<void> landlock_everything();

}  // namespace vmm::sandbox
