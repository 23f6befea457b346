// SPDX-License-Identifier: Apache-2.0
// Members of a machine's answer, which may be another version's: what is not there, or is of
// another kind, reads as nothing (null), 0 or "?".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace vmm::cli {

using Json = nlohmann::ordered_json;

const Json& field(const Json& json, const char* key);
std::uint64_t number(const Json& json, const char* key);
// Without control characters: it is for the terminal.
std::string text(const Json& json, const char* key);

}  // namespace vmm::cli
