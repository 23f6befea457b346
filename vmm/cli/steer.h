// SPDX-License-Identifier: Apache-2.0
// `vmm list`, `stop`, `pause` and `resume`: running machines, steered over their control sockets.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vmm/cli/command.h"
#include "vmm/control/client.h"

namespace vmm::cli {

Result<int> list_command(const Arguments& arguments);
Result<int> stop_command(const Arguments& arguments);
Result<int> pause_command(const Arguments& arguments);
Result<int> resume_command(const Arguments& arguments);

// Of the machines that this user runs. Sockets that were left behind are removed on the way.
std::vector<std::string> names_of_machines();

// The running machine of this name, in whichever directory its socket is.
Result<control::Client> find_machine(const std::string& name);

// Asks, and turns an answer that is no success into an Error that names the machine. Gives the
// answer, an object of JSON.
Result<std::string> ask_machine(control::Client& machine, const std::string& name,
                                std::string_view request, std::span<const UniqueFd> files = {});

}  // namespace vmm::cli
