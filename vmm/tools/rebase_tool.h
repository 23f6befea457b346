// SPDX-License-Identifier: Apache-2.0
// `vmm disk rebase`: gives an overlay another backing file, or none, without a change for the
// guest.
#pragma once

#include <string>

#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

struct RebaseConfig {
  ImageOptions image;
  std::string backing_file;  // empty: none
  std::string backing_format;
  CacheMode source_cache;
  bool unsafe = false;  // only the name changes; the user says the contents are the same
  bool progress = false;
};

// The exit status.
int run_rebase(const RebaseConfig& config, const Console& console);

}  // namespace vmm::tools
