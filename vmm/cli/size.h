// SPDX-License-Identifier: Apache-2.0
// Sizes as users write them.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/core/result.h"

namespace vmm::cli {

// "512", "512M", "4G", "64KiB": a whole number and a suffix K, M, G or T (powers of 1024; "B" and
// "iB" may follow, any case). `unit` is what a number without a suffix counts, in bytes. `flag` is
// named in errors. Fails for 0 characters, other characters, and more than 2^63 - 1 bytes.
Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t unit, std::string_view flag);

// "500": a whole number, 0 too. Errors name `flag`.
Result<std::uint64_t> parse_count(std::string_view text, std::string_view flag);

}  // namespace vmm::cli
