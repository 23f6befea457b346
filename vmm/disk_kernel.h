// SPDX-License-Identifier: Apache-2.0
// The kernel of a machine whose user names none: the first disk's that has one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vmm/bootfind/bootfind.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm {

// The kernel, initrd and command line that the disks would boot by themselves. `entry`: as --boot
// has it, "" for the default. Nothing where no disk has a kernel; `looked_at` then says, one line
// for each disk, what was seen there. While the process has one thread.
Result<std::optional<bootfind::BootChoice>> find_disk_kernel(
    const std::vector<disk::DiskOptions>& disks, const std::string& entry,
    std::vector<std::string>& looked_at);

// What `--boot list` prints.
Result<std::string> list_disk_kernels(const std::vector<disk::DiskOptions>& disks);

// Puts the choice into `config`: files by descriptor (`choice` must stay), the user's own initrd
// before the disk's, the user's parameters after the disk's, and the machine's console where
// neither names it.
void use_disk_kernel(const bootfind::BootChoice& choice, MachineConfig& config);

}  // namespace vmm
