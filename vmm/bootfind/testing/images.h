// SPDX-License-Identifier: Apache-2.0
// The images that testing/make-images makes, once for each run of the tests.
#pragma once

#include <string>

#include "vmm/bootfind/testing/memory_source.h"

namespace vmm::bootfind {

// The path of "debian-gpt.img" and so on. Ends the test program where they cannot be made.
std::string image_path(const std::string& name);

// The whole image in memory, to be damaged.
MemorySource load_image(const std::string& name);

}  // namespace vmm::bootfind
