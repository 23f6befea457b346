// SPDX-License-Identifier: Apache-2.0
// OptionList: "name=value,name=value", as -o of the image tools takes them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/core/result.h"

namespace vmm::tools {

// In the order of the text; a later one of the same name counts.
using OptionList = std::vector<std::pair<std::string, std::string>>;

// A comma inside a value is written twice. A name alone stands for name=on.
Result<OptionList> parse_option_list(std::string_view text);

}  // namespace vmm::tools
