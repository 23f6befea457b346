// SPDX-License-Identifier: Apache-2.0
// How the run of a machine ended.
#pragma once

#include <string>

namespace vmm {

struct Outcome {
  enum class Kind {
    kPowerOff,    // the guest switched itself off
    kReboot,      // the guest asked for a reset
    kGuestCrash,  // triple fault
    kGuestPanic,  // the guest's kernel says that it panicked
    kGuestExit,   // the guest gave an exit status
    kFailure,     // KVM could not go on
    kStopped,     // from outside
  };
  Kind kind = Kind::kStopped;
  std::string message;  // one line, for kGuestCrash, kGuestPanic and kFailure
  int status = 0;       // for kGuestExit, 0 to 255
};

}  // namespace vmm
