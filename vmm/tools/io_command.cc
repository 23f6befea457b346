// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/io_command.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "vmm/tools/size.h"

namespace vmm::tools {

bool print_usage(std::FILE* out, const IoCommand& command) {
  fmt::print(out, "{}{}{} -- {}\n", command.name, command.arguments == nullptr ? "" : " ",
             command.arguments == nullptr ? "" : command.arguments, command.summary);
  return false;
}

IoWords split_words(std::string_view line) {
  IoWords words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

OptionReader::OptionReader(const IoWords& words, const char* letters, std::FILE* err)
    : words_(words), letters_(letters), err_(err) {
}

char OptionReader::next() {
  // Operands before and between the options are put aside.
  while (in_word_ == 0) {
    if (word_ == words_.size()) return 0;
    const std::string& word = words_[word_];
    if (!options_end_ && word == "--") {
      options_end_ = true;
      ++word_;
    } else if (options_end_ || word.size() < 2 || word[0] != '-') {
      operands_.push_back(word);
      ++word_;
    } else {
      in_word_ = 1;
    }
  }
  const std::string& word = words_[word_];
  const char letter = word[in_word_++];
  const char* known = letter == ':' ? nullptr : std::strchr(letters_, letter);
  const bool takes_value = known != nullptr && known[1] == ':';
  if (takes_value) {
    value_ = word.substr(in_word_);
    in_word_ = word.size();
  }
  if (in_word_ == word.size()) {
    ++word_;
    in_word_ = 0;
  }
  if (known == nullptr) {
    fmt::print(err_, "{}: invalid option -- '{}'\n", words_[0], letter);
    return '?';
  }
  if (takes_value && value_.empty()) {
    if (word_ == words_.size()) {
      fmt::print(err_, "{}: option requires an argument -- '{}'\n", words_[0], letter);
      return '?';
    }
    value_ = words_[word_++];
  }
  return letter;
}

std::optional<std::uint64_t> read_number(std::FILE* out, const std::string& text) {
  const Result<std::uint64_t> number = parse_size(text);
  if (number) return *number;
  const bool too_large = number.error().kind() == ErrorKind::kOutOfRange;
  fmt::print(
      out, "Parsing error: {} -- {}\n",
      too_large ? "argument too large" : "non-numeric argument, or extraneous/unrecognized suffix",
      text);
  return std::nullopt;
}

std::optional<int> read_pattern(std::FILE* out, const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const long pattern = std::strtol(text.c_str(), &end, 0);
  if (end == text.c_str() || *end != '\0' || pattern < 0 || pattern > 255) {
    fmt::print(out, "{} is not a valid pattern byte\n", text);
    return std::nullopt;
  }
  return static_cast<int>(pattern);
}

}  // namespace vmm::tools
