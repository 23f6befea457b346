// SPDX-License-Identifier: Apache-2.0
// The value of --cloud-init.
#pragma once

#include <string>
#include <string_view>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::cli {

// "USER-DATA[,META-DATA]", two files' names; a comma that belongs to one is written twice. Reads
// them and makes the seed (vmm/cloud_init.h). `name`: the machine's; empty where the user gave
// none. Errors do not name the flag.
Result<UniqueFd> make_seed_from_option(std::string_view text, std::string_view name);

}  // namespace vmm::cli
