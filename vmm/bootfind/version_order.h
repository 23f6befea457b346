// SPDX-License-Identifier: Apache-2.0
// The order of version strings in the UAPI group's Version Format Specification, which boot loaders
// sort their entries by: "6.1.0-9" < "6.1.0-10", "6.1~rc1" < "6.1".
#pragma once

#include <string_view>

namespace vmm::bootfind {

// Negative, 0 or positive, as strcmp().
int compare_versions(std::string_view a, std::string_view b);

}  // namespace vmm::bootfind
