// SPDX-License-Identifier: Apache-2.0
// syslinux.cfg and extlinux.conf: LABEL, LINUX or KERNEL, INITRD, APPEND, DEFAULT; INCLUDE is not
// followed.
#pragma once

#include <string>
#include <string_view>

#include "vmm/bootfind/config_entry.h"

namespace vmm::bootfind {

// Paths without a "/" in front are relative to `directory`, where the file lies.
BootConfig parse_syslinux_config(std::string_view text, const std::string& directory);

}  // namespace vmm::bootfind
