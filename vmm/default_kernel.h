// SPDX-License-Identifier: Apache-2.0
// Which kernel to boot where the user names none.
#pragma once

#include <string>

#include "vmm/core/result.h"

namespace vmm {

// `directory`/vmlinuz-`release`, which is the running host's kernel, else the newest vmlinuz-*
// there by version. Fails with kNotFound, saying what was looked for.
Result<std::string> find_default_kernel(const std::string& directory = "/boot",
                                        const std::string& release = "");

}  // namespace vmm
