// SPDX-License-Identifier: Apache-2.0
// The value of --share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm::cli {

// "DIR[,TAG]" each, also ",tag=TAG"; without one the tag is the directory's name. Directories
// become absolute paths. Fails where two have the same tag, and for what virtiofsd or the guest
// could not take: a comma in DIR, a tag of more than 36 bytes. Errors name the flag.
Result<std::vector<MachineConfig::Share>> parse_share_options(
    const std::vector<std::string>& options);

}  // namespace vmm::cli
