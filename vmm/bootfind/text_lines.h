// SPDX-License-Identifier: Apache-2.0
// "keyword value" lines, as BLS entries, loader.conf and syslinux configurations are made of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmm::bootfind {

struct KeyLine {
  std::string_view key;    // up to the first blank
  std::string_view value;  // the rest, without blanks around it
};

// Comments (#) and empty lines are left out.
std::vector<KeyLine> key_lines(std::string_view text);

std::vector<std::string> split_words(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);  // empty parts are left out
std::string lower_case(std::string_view text);                          // ASCII

}  // namespace vmm::bootfind
