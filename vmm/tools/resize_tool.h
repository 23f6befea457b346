// SPDX-License-Identifier: Apache-2.0
// `vmm disk resize`.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct ResizeConfig {
  ImageOptions image;
  std::string size;  // "20G", "+1G", "-1G"
  std::string preallocation = "off";
  bool shrink = false;  // what is cut off may be lost
};

// The exit status.
int run_resize(const ResizeConfig& config, const Console& console);

}  // namespace vmm::tools
