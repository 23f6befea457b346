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
  std::string backing_file;   // empty: none
  bool names_backing = true;  // without it, only the name of the old one can be dropped
  std::string backing_format;
  CacheMode source_cache;
  bool force_share = false;  // of the backing file
  bool unsafe = false;       // only the name changes; the user says the contents are the same
  bool progress = false;
};

// The exit status.
int run_rebase(const RebaseConfig& config, const Console& console);

}  // namespace vmm::tools
