// SPDX-License-Identifier: Apache-2.0
// The value of --disk.
#pragma once

#include <string_view>

#include "disk/open_disk.h"
#include "vmm/core/result.h"

namespace vmm::cli {

// "file[,ro][,format=raw|qcow2][,direct]". A comma always ends the file name.
Result<disk::DiskOptions> parse_disk_option(std::string_view text);

}  // namespace vmm::cli
