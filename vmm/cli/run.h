// SPDX-License-Identifier: Apache-2.0
// `vmm run`.
#pragma once

#include "vmm/cli/command.h"

namespace vmm::cli {

// Exit statuses of `vmm run` besides kExitSuccess (the guest powered off), kExitFailure and
// kExitUsage. A run that a signal ended gives 128 + the signal's number.
inline constexpr int kExitReboot = 3;      // the guest asked for a reset, with --no-reboot
inline constexpr int kExitGuestCrash = 4;  // triple fault
inline constexpr int kExitByUser = 5;      // the escape key
inline constexpr int kExitGuestPanic = 6;  // pvpanic
// With --debug-exit a guest ends the run with whatever status it likes.

Result<int> run_command(const Arguments& arguments);

}  // namespace vmm::cli
