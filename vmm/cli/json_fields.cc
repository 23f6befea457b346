// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/json_fields.h"

#include <nlohmann/json.hpp>

namespace vmm::cli {

const Json& field(const Json& json, const char* key) {
  static const Json nothing;
  if (!json.is_object()) return nothing;
  const auto found = json.find(key);
  return found != json.end() ? *found : nothing;
}

std::uint64_t number(const Json& json, const char* key) {
  const Json& value = field(json, key);
  return value.is_number_integer() ? value.get<std::uint64_t>() : 0;
}

// A file's name may have any of them.
std::string text(const Json& json, const char* key) {
  const Json& value = field(json, key);
  std::string plain = value.is_string() ? value.get<std::string>() : "?";
  for (char& c : plain) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return plain;
}

}  // namespace vmm::cli
