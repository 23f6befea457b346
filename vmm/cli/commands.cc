// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/commands.h"

#include "vmm/cli/attach.h"
#include "vmm/cli/balloon.h"
#include "vmm/cli/console.h"
#include "vmm/cli/debug.h"
#include "vmm/cli/disk.h"
#include "vmm/cli/doctor.h"
#include "vmm/cli/run.h"
#include "vmm/cli/stat.h"
#include "vmm/cli/steer.h"
#include "vmm/cli/steer_disk.h"

namespace vmm::cli {
namespace {

constexpr Command kCommands[] = {
    {"run", "Run a virtual machine on this terminal", run_command},
    {"list", "List the virtual machines that run", list_command},
    {"stop", "Press a virtual machine's power button, or end it", stop_command},
    {"pause", "Make a virtual machine stand still", pause_command},
    {"resume", "Let a paused virtual machine go on", resume_command},
    {"stat", "Tell what a running virtual machine has done, or does", stat_command},
    {"balloon", "Ask a guest to give memory back", balloon_command},
    {"debug", "Show the registers of a running machine's processors", debug_command},
    {"console", "Look at a running machine's console, and type there", console_command},
    {"attach", "Give a running machine another disk", attach_command},
    {"detach", "Take a disk from a running machine", detach_command},
    {"limit", "Limit how fast a running machine's disk is used", limit_command},
    {"resize", "Make a running machine's disk larger", resize_command},
    {"disk", "Make, inspect, convert and exercise disk images", disk_command},
    {"doctor", "Say whether this host can run virtual machines", doctor_command},
};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace vmm::cli
