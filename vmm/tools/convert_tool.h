// SPDX-License-Identifier: Apache-2.0
// `vmm disk convert`.
#pragma once

#include <string>
#include <vector>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

// The words of the command line; empty where not given.
struct ConvertConfig {
  std::vector<std::string> files;  // one or more sources, and the target
  std::string source_format;
  std::string target_format;
  std::string backing_file;
  std::string backing_format;
  std::vector<std::string> options;  // of -o
  std::string source_cache;
  std::string target_cache;
  std::string sparse_size;
  std::string rate;      // bytes a second
  std::string snapshot;  // of the source
  unsigned nr_workers = 8;
  bool compressed = false;
  bool out_of_order = false;
  bool no_create = false;
  bool target_is_zero = false;
  bool salvage = false;  // what cannot be read becomes zeros
  bool progress = false;
  bool force_share = false;
  bool source_image_opts = false;  // the names are lists of options
  bool target_image_opts = false;
};

// The exit status.
int run_convert(const ConvertConfig& config, const Console& console);

}  // namespace vmm::tools
