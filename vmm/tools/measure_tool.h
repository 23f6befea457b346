// SPDX-License-Identifier: Apache-2.0
// `vmm disk measure`: how large the file of a new image will be.
#pragma once

#include <string>
#include <vector>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

// The words of the command line; empty where not given.
struct MeasureConfig {
  ImageOptions image;         // the source; its path is empty where `size` is there
  std::string size;           // virtual
  std::string target_format;  // empty: raw
  std::string snapshot;       // of the source
  std::string output;
  std::vector<std::string> options;  // of -o, of the target
};

// The exit status.
int run_measure(const MeasureConfig& config, const Console& console);

}  // namespace vmm::tools
