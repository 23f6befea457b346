// SPDX-License-Identifier: Apache-2.0
// The syntax of GRUB's scripts (GRUB manual, "Writing full configuration files directly"), as far
// as grub-mkconfig writes it: words with quotes and variables, if, function, menuentry, submenu.
// Loops are read over.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/result.h"

namespace vmm::bootfind::grub {

struct WordPart {
  std::string text;  // literal text, or a variable's name
  bool variable = false;
  bool quoted = false;  // its value is not split at spaces
};
using Word = std::vector<WordPart>;

struct Command;
using Block = std::vector<Command>;

struct Branch {
  Block condition;  // empty: else
  Block body;
};

struct Command {
  enum class Kind { kSimple, kIf, kFunction, kMenuEntry, kSubmenu };
  Kind kind = Kind::kSimple;
  std::vector<Word> words;  // kFunction: its name; kMenuEntry, kSubmenu: what stands before "{"
  std::vector<Branch> branches;  // kIf
  // Shared, because an entry's body is run after the script that held it.
  std::shared_ptr<const Block> body;
};

// kInvalid names the line. Nesting and length are limited.
Result<Block> parse(std::string_view script);

}  // namespace vmm::bootfind::grub
