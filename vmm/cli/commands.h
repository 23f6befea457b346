// SPDX-License-Identifier: Apache-2.0
// The table of `vmm`'s subcommands.
#pragma once

#include <span>

#include "vmm/cli/command.h"

namespace vmm::cli {

std::span<const Command> commands();

}  // namespace vmm::cli
