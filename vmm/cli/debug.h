// SPDX-License-Identifier: Apache-2.0
// `vmm debug`: what a running machine's processors are at.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> debug_command(const Arguments& arguments);

// For people, from the answer to the request "debug".
std::string describe_registers(const std::string& answer);

}  // namespace vmm::cli
