// SPDX-License-Identifier: Apache-2.0
// `vmm disk snapshot`: the snapshots inside an image.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct SnapshotConfig {
  enum class Action { kList, kCreate, kApply, kDelete };
  ImageOptions image;
  Action action = Action::kList;
  std::string name;  // or id; not for kList
};

// The exit status.
int run_snapshot(const SnapshotConfig& config, const Console& console);

}  // namespace vmm::tools
