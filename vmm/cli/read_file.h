// SPDX-License-Identifier: Apache-2.0
// Small files that the user names.
#pragma once

#include <string>

#include "vmm/core/result.h"

namespace vmm::cli {

// All of a file, or of what comes through a pipe. Fails for more than `limit` bytes. Errors start
// with the name.
Result<std::string> read_file(const std::string& path, std::size_t limit);

}  // namespace vmm::cli
