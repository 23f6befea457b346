// SPDX-License-Identifier: Apache-2.0
// Names of files that other files name.
#pragma once

#include <string>
#include <string_view>

namespace vmm::tools {

// `name` as seen from the folder of `base`; `name` itself where it is absolute or empty.
std::string resolve_against(std::string_view base, std::string_view name);

}  // namespace vmm::tools
