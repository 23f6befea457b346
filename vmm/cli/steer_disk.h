// SPDX-License-Identifier: Apache-2.0
// `vmm limit` and `vmm resize`: disks of running machines.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> limit_command(const Arguments& arguments);
Result<int> resize_command(const Arguments& arguments);

}  // namespace vmm::cli
