// SPDX-License-Identifier: Apache-2.0
// `vmm disk dd`: copies a part of an image into a new one.
#pragma once

#include <string>
#include <vector>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct DdConfig {
  ImageOptions source;                // without its path
  std::string target_format;          // empty: raw
  std::vector<std::string> operands;  // if=, of=, bs=, count=, skip=
};

// The exit status.
int run_dd(const DdConfig& config, const Console& console);

}  // namespace vmm::tools
