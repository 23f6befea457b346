// SPDX-License-Identifier: Apache-2.0
// Reboot in place: after a guest's reset everything is made anew, by a process that has given up
// nothing yet.
//
// The first boot runs in the process that the user started. Before it enters its sandbox that forks
// a spare one, which waits. When the guest resets, the spare one runs every further boot, each in a
// child of its own with a fresh sandbox, while the first hands on signals and ends with the last
// boot's status. Where the first process dies the others die too.
#pragma once

#include <functional>

#include "vmm/core/result.h"

namespace vmm::cli {

struct BootEnd {
  int status = 0;       // the exit status, unless `reboot`
  bool reboot = false;  // the guest asked for a reset
};

// While the process has one thread. Calls `boot` here, and after a reset in other processes.
Result<int> boot_until_done(const std::function<Result<BootEnd>()>& boot);

}  // namespace vmm::cli
