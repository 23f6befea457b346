// SPDX-License-Identifier: Apache-2.0
// `vmm console`: the console of a running machine, on this terminal.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> console_command(const Arguments& arguments);

}  // namespace vmm::cli
