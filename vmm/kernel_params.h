// SPDX-License-Identifier: Apache-2.0
// The kernel command line: what the user gave, and what is added where it is missing.
#pragma once

#include <string>
#include <string_view>

namespace vmm {

// Whether `params` has the parameter `name` ("root"), as `name=...`, or as `name` alone. Double
// quotes keep blanks together, as the kernel has it; what follows " -- " is for init.
bool has_param(std::string_view params, std::string_view name);

// What stands behind `name=`, the last time it is there, as for the kernel; "" where it is not.
std::string_view param_value(std::string_view params, std::string_view name);

struct RootDisk {
  bool exists = false;  // the machine has a disk at all
  bool partitioned = false;
  bool read_only = false;
};

// `params` with console=`console` where no console= is given, and root=/dev/vda (vda1 on a
// partitioned disk) where no root= is given and there is a disk.
std::string complete_params(std::string_view params, std::string_view console,
                            const RootDisk& disk);

}  // namespace vmm
