// SPDX-License-Identifier: Apache-2.0
// The address of a Unix socket that has a file (unix(7)).
#pragma once

#include <sys/un.h>

#include <string>

#include "vmm/core/result.h"

namespace vmm {

// Fails with kInvalid, `path` in front, where it is longer than the 107 bytes that fit.
Result<sockaddr_un> unix_address(const std::string& path);

}  // namespace vmm
