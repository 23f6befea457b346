// SPDX-License-Identifier: Apache-2.0
// `vmm disk check`: whether an image contradicts itself, and repairs.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct CheckConfig {
  ImageOptions image;
  std::string repair;  // leaks, all; empty: only look
  std::string output;  // human, json
};

// Exit status as qemu-img: 0 nothing wrong (any more), 1 the check could not be made, 2 corrupt, 3
// leaks but no corruption, 63 the format has nothing to check.
int run_check(const CheckConfig& config, const Console& console);

}  // namespace vmm::tools
