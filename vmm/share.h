// SPDX-License-Identifier: Apache-2.0
// Directories of the host that the guest can mount: virtiofsd serves each from a process of its
// own.
#pragma once

#include <string>
#include <vector>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/machine_config.h"

namespace vmm {

struct ShareBackend {
  UniqueFd socket;    // where it is reached by vhost-user
  UniqueFd messages;  // a pipe with what it says; where that is full, the rest is dropped
};

// Whether the directories are there, and a virtiofsd to start. Errors name the flag.
Result<void> check_shares(const std::vector<MachineConfig::Share>& shares);

// Starts a virtiofsd for each, which ends when the socket is closed. While programs may still be
// started. In the same order.
Result<std::vector<ShareBackend>> open_shares(const std::vector<MachineConfig::Share>& shares);

// What virtiofsd has complained of last; "" for nothing. Waits a moment where it might still do so.
std::string last_words(const ShareBackend& backend);

}  // namespace vmm
