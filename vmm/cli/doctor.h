// SPDX-License-Identifier: Apache-2.0
// `vmm doctor`.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

// Status kExitSuccess where a stock Linux guest will run, else kExitFailure.
Result<int> doctor_command(const Arguments& arguments);

}  // namespace vmm::cli
