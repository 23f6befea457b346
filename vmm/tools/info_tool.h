// SPDX-License-Identifier: Apache-2.0
// `vmm disk info`: what an image says of itself. It opens the image's own file, and nothing that
// the image names (CVE-2024-4467 was made of doing otherwise), unless the chain is asked for.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct InfoConfig {
  ImageOptions image;
  std::string output;          // human, json
  bool backing_chain = false;  // the backing files too
};

// The exit status.
int run_info(const InfoConfig& config, const Console& console);

}  // namespace vmm::tools
