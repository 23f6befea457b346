// SPDX-License-Identifier: Apache-2.0
// `vmm balloon`: a running guest's memory.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> balloon_command(const Arguments& arguments);

// For people, from the answer to the request "stat"; empty for a machine without a balloon.
std::string describe_balloon(const std::string& answer);

}  // namespace vmm::cli
