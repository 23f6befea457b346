// SPDX-License-Identifier: Apache-2.0
// `vmm stat`: what a running machine has done so far.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> stat_command(const Arguments& arguments);

// For people, from the answer to the request "stat". What the answer lacks is left out or 0.
std::string describe_stat(const std::string& name, int pid, const std::string& answer);

}  // namespace vmm::cli
