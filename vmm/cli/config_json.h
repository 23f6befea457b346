// SPDX-License-Identifier: Apache-2.0
// The members of a configuration file's JSON object, with the lines they stand on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/result.h"

namespace vmm::cli {

struct ConfigValue {
  enum class Kind { kNull, kBool, kNumber, kString };
  Kind kind = Kind::kNull;
  std::string text;  // "true", "false", the number as it is written, or the string's characters
};

struct ConfigMember {
  std::string name;
  std::size_t line = 0;  // counted from 1
  bool is_array = false;
  std::vector<ConfigValue> values;  // exactly one where it is no array
};

// In the file's order. Fails for what is no JSON, no object, or deeper than an array of values,
// and for a name that is there twice. Errors start with the line.
Result<std::vector<ConfigMember>> parse_config_json(std::string_view text);

}  // namespace vmm::cli
