// SPDX-License-Identifier: Apache-2.0
// `vmm disk compare`: whether a guest would see the same in two images.
#pragma once

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct CompareConfig {
  ImageOptions first;
  ImageOptions second;
  bool strict = false;  // sizes and allocation must be the same too
  bool progress = false;
};

// Exit status as qemu-img: 0 same, 1 different, 2 and more: an image could not be opened or read.
int run_compare(const CompareConfig& config, const Console& console);

}  // namespace vmm::tools
