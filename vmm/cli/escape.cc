// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/escape.h"

#include <utility>

namespace vmm::cli {

EscapeParser::Parsed EscapeParser::parse(std::span<const std::byte> typed) {
  Parsed parsed;
  for (std::byte key : typed) {
    if (!std::exchange(escaped_, false)) {
      if (key == kEscape) {
        escaped_ = true;
      } else {
        parsed.for_guest.push_back(key);
      }
      continue;
    }
    switch (std::to_integer<char>(key)) {
      case 'x':
      case 'X':
        parsed.quit = true;
        return parsed;
      case '?':
      case 'h':
        parsed.help = true;
        break;
      case 'a':
      case '\x01':
        parsed.for_guest.push_back(kEscape);
        break;
      default:
        parsed.for_guest.push_back(kEscape);
        parsed.for_guest.push_back(key);
        break;
    }
  }
  return parsed;
}

}  // namespace vmm::cli
