// SPDX-License-Identifier: Apache-2.0
// The value of --net.
#pragma once

#include <string_view>

#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm::cli {

// "none", "user[,tcp=PORTS][,udp=PORTS]...", "user,socket=FILE" or "tap[=NAME]", each with
// "mac=XX:XX:XX:XX:XX:XX" behind it or without; kvmtool's "mode=", "tapif=" and "guest_mac=" too.
// PORTS are those of the host that lead to the guest: [ADDRESS/]PORT[-PORT][:PORT[-PORT]], at
// 127.0.0.1 without an address. Without mac= the guest's address is made from the machine's name,
// so that the same machine always has the same. Errors name the flag.
Result<MachineConfig::Net> parse_net_option(std::string_view text, std::string_view name);

}  // namespace vmm::cli
