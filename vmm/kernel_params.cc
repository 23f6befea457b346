// SPDX-License-Identifier: Apache-2.0
#include "vmm/kernel_params.h"

#include <vector>

namespace vmm {
namespace {

std::vector<std::string_view> split(std::string_view params) {
  std::vector<std::string_view> words;
  std::size_t start = 0;
  bool quoted = false;
  for (std::size_t i = 0; i <= params.size(); ++i) {
    if (i < params.size() && params[i] == '"') quoted = !quoted;
    bool blank = i == params.size() || (!quoted && (params[i] == ' ' || params[i] == '\t'));
    if (!blank) continue;
    if (i > start) words.push_back(params.substr(start, i - start));
    start = i + 1;
  }
  return words;
}

}  // namespace

bool has_param(std::string_view params, std::string_view name) {
  for (std::string_view word : split(params)) {
    if (word == "--") return false;
    if (word.starts_with(name) && (word.size() == name.size() || word[name.size()] == '=')) {
      return true;
    }
  }
  return false;
}

std::string_view param_value(std::string_view params, std::string_view name) {
  std::string_view value;
  for (std::string_view word : split(params)) {
    if (word == "--") break;
    if (word.starts_with(name) && word.size() > name.size() && word[name.size()] == '=') {
      value = word.substr(name.size() + 1);
    }
  }
  return value;
}

std::string complete_params(std::string_view params, std::string_view console,
                            const RootDisk& disk) {
  // In front, so that what the user gave has the last word, and nothing lands behind a "--".
  std::string text;
  auto add = [&](std::string_view word) {
    if (!text.empty()) text += ' ';
    text += word;
  };
  if (!has_param(params, "console")) add(std::string("console=") + std::string(console));
  if (disk.exists && !has_param(params, "root")) {
    add(disk.partitioned ? "root=/dev/vda1" : "root=/dev/vda");
    if (!has_param(params, "rw") && !has_param(params, "ro")) add(disk.read_only ? "ro" : "rw");
  }
  if (!params.empty()) add(params);
  return text;
}

}  // namespace vmm
