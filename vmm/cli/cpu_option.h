// SPDX-License-Identifier: Apache-2.0
// The values of --cpu and --pin.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/result.h"

namespace vmm::cli {

// "host[,-FLAG]...": the features that the guest does not see (arch/x86/cpu_flags.h). Errors name
// the flag.
Result<std::vector<std::string>> parse_cpu_option(std::string_view text);

// "0,2-3": processors of this host, one for each vCPU in its order. "": none, and an empty answer.
// Fails where they are not `nr_cpus`, and where this process may not run on one of them.
Result<std::vector<unsigned>> parse_pin_option(std::string_view text, unsigned nr_cpus);

}  // namespace vmm::cli
