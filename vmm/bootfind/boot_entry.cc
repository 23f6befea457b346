// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/boot_entry.h"

#include <string_view>

namespace vmm::bootfind {
namespace {

// The length of the UTF-8 sequence that `text` starts with, if it is a printable character.
std::size_t printable_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // U+0080 to U+009F are control characters too.
  if (first == 0xc2 && byte(1) < 0xa0) return 0;
  // Other spellings of shorter sequences.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90)) return 0;
  return length;
}

}  // namespace

std::string printable(const std::string& text) {
  std::string clean;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t length = printable_length(rest);
    if (length > 0) {
      clean += rest.substr(0, length);
    } else {
      clean += rest[0] == '\t' ? ' ' : '?';
    }
    rest.remove_prefix(length > 0 ? length : 1);
  }
  return clean;
}

}  // namespace vmm::bootfind
