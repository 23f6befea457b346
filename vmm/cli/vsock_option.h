// SPDX-License-Identifier: Apache-2.0
// The value of --vsock.
#pragma once

#include <string_view>

#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm::cli {

// "PATH[,cid=N]", "vhost[,cid=N]" or, as kvmtool has it, the CID alone; empty: none. Two commas are
// one of the file name's. Errors name the flag.
Result<MachineConfig::Vsock> parse_vsock_option(std::string_view text);

}  // namespace vmm::cli
