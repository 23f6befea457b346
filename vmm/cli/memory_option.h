// SPDX-License-Identifier: Apache-2.0
// The value of --mem.
#pragma once

#include <string_view>

#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm::cli {

// "SIZE[,shared][,file=PATH]" into the members of `config` that say so; SIZE in MiB, or with a
// suffix. PATH is the rest, with its commas. Errors name the flag.
Result<void> parse_memory_option(std::string_view text, MachineConfig& config);

}  // namespace vmm::cli
