// SPDX-License-Identifier: Apache-2.0
// `vmm run --dry-run`: all of a start but its effects.
#pragma once

#include <string>

#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm::cli {

// Whether nobody has the name, disks may be opened as wished, and the machine can be made with its
// memory, disks, kernel, devices and vCPUs. Nothing is written to a disk: each is opened to be read
// only, so that whoever else reads it is not noticed. `config` has a kernel.
// `dump_dtb`: a file that the machine's device tree is written to; empty: none.
Result<void> check_start(MachineConfig config, const std::string& dump_dtb);

}  // namespace vmm::cli
