// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/commands.h"

#include <array>

namespace vmm::cli {
namespace {

constexpr std::array<Command, 0> kCommands = {};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace vmm::cli
