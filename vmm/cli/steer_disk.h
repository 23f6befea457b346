// SPDX-License-Identifier: Apache-2.0
// `vmm resize`: disks of running machines.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> resize_command(const Arguments& arguments);

}  // namespace vmm::cli
