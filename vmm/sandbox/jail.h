// SPDX-License-Identifier: Apache-2.0
// The jail: namespaces of its own, a supervisor outside, and a root directory with nothing in it.
#pragma once

#include <string>

#include "vmm/core/result.h"

namespace vmm::sandbox {

// New mount, pid, network, ipc and uts namespaces. Comes back in the child, process 1 of its world;
// the calling process becomes the supervisor and ends with the child. Only while there is one
// thread. Needs root.
Result<void> enter_namespaces();

// Inside the namespaces, for all threads: `directory` is the root from now on, or, where it is
// empty, an empty tmpfs that nobody can write to. Nothing of the old tree can be reached by name.
Result<void> pivot_root_to(const std::string& directory);

// Without namespaces: plain chroot(2), for all threads.
Result<void> change_root_to(const std::string& directory);

// The kernel forgets this when the user id changes.
void die_with_supervisor();

}  // namespace vmm::sandbox
