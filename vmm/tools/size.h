// SPDX-License-Identifier: Apache-2.0
// Sizes as the image tools write them: "64k", "1.5G", "0x200", and back as "1.500 GiB".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/core/result.h"

namespace vmm::tools {

// A decimal number (a leading 0 does not make it octal) with an optional fraction, or a hexadecimal
// one, and one of the suffixes b k m g t p e in either case. `default_unit` is the factor of a
// number without suffix. At most 2^63 - 1. kOutOfRange: too large; kInvalid: not a size. The rules
// are qemu's "strtosz", so that scripts carry over.
Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t default_unit = 1);

// 1536 -> "1.500 KiB", 4096 -> "4 KiB", 512 -> "512 bytes".
std::string format_size(double bytes);

// As `info` writes them, in three significant digits: 1536 -> "1.5 KiB", 67108864 -> "64 MiB".
std::string format_size_short(std::uint64_t bytes);

// Bytes a second, at least 1, as -r of qemu-img takes them.
Result<std::uint64_t> parse_rate(std::string_view text);

}  // namespace vmm::tools
