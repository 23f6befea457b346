// SPDX-License-Identifier: Apache-2.0
// `vmm disk snapshot` of an image that a running machine writes: it is the machine that does it.
#pragma once

#include <optional>
#include <string>

#include "vmm/core/result.h"

namespace vmm::tools {
struct Console;
struct SnapshotConfig;
}  // namespace vmm::tools

namespace vmm::cli {

struct RunningDisk {
  std::string machine;
  std::string disk;  // "vda"
};

// The machine of this user that has this file open to write, by whatever name.
std::optional<RunningDisk> machine_that_writes(const std::string& path);

Result<int> steer_snapshot(const RunningDisk& disk, const tools::SnapshotConfig& config,
                           const tools::Console& console);

}  // namespace vmm::cli
