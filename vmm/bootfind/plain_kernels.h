// SPDX-License-Identifier: Apache-2.0
// Kernels that lie in a directory with no boot loader's configuration, and the initrds that belong
// to them by name.
#pragma once

#include <string>
#include <vector>

namespace vmm::bootfind {

struct PlainKernel {
  std::string kernel;  // file name
  std::string initrd;  // file name, or nothing
};

// Out of a directory's names; the newest version first.
std::vector<PlainKernel> find_plain_kernels(const std::vector<std::string>& names);

}  // namespace vmm::bootfind
