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
    kFailure,     // KVM could not go on
    kStopped,     // from outside
  };
  Kind kind = Kind::kStopped;
  std::string message;  // one line, for kGuestCrash and kFailure
};

}  // namespace vmm
