// SPDX-License-Identifier: Apache-2.0
// `vmm disk commit`: what an overlay changed goes into its backing file.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct CommitConfig {
  ImageOptions image;
  std::string base;   // must be the image's own backing file; empty: that
  bool keep = false;  // the overlay is not emptied
  bool progress = false;
};

// The exit status.
int run_commit(const CommitConfig& config, const Console& console);

}  // namespace vmm::tools
