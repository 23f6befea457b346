// SPDX-License-Identifier: Apache-2.0
// `vmm disk map`: where the bytes of an image are stored.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct MapConfig {
  ImageOptions image;
  std::string start;   // a size; empty: 0
  std::string length;  // a size; empty: to the end
  std::string output;  // human, json
};

// The exit status.
int run_map(const MapConfig& config, const Console& console);

}  // namespace vmm::tools
