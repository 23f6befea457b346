// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/commands.h"

#include "vmm/cli/disk.h"
#include "vmm/cli/doctor.h"
#include "vmm/cli/run.h"

namespace vmm::cli {
namespace {

constexpr Command kCommands[] = {
    {"run", "Run a virtual machine on this terminal", run_command},
    {"disk", "Make, inspect, convert and exercise disk images", disk_command},
    {"doctor", "Say whether this host can run virtual machines", doctor_command},
};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace vmm::cli
