// SPDX-License-Identifier: Apache-2.0
// `vmm attach` and `vmm detach`: disks come and go while a machine runs.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> attach_command(const Arguments& arguments);
Result<int> detach_command(const Arguments& arguments);

}  // namespace vmm::cli
