// SPDX-License-Identifier: Apache-2.0
// `vmm disk commit`: what an overlay changed goes into its backing file, or into one below that.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct CommitConfig {
  ImageOptions image;
  std::string rate;   // bytes a second; empty: no limit
  std::string base;   // as the chain's headers name it; empty: the image's own backing file
  bool keep = false;  // the overlay is not emptied; nor is it where a base is named
  bool progress = false;
};

// The exit status.
int run_commit(const CommitConfig& config, const Console& console);

}  // namespace vmm::tools
