// SPDX-License-Identifier: Apache-2.0
// `vmm disk create`.
#pragma once

#include <string>
#include <vector>

#include "vmm/tools/console.h"

namespace vmm::tools {

// The words of the command line; empty where not given.
struct CreateConfig {
  std::string path;
  std::string size;
  std::string format;
  std::string backing_file;
  std::string backing_format;
  std::vector<std::string> options;  // of -o
  bool unsafe = false;               // the backing file is not opened
};

// The exit status.
int run_create(const CreateConfig& config, const Console& console);

}  // namespace vmm::tools
