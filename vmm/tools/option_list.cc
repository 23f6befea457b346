// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/option_list.h"

#include <fmt/core.h>

namespace vmm::tools {

namespace {

// Takes one "name=value" off the front of `text`.
std::string take_item(std::string_view& text) {
  std::string item;
  while (!text.empty()) {
    if (text[0] == ',') {
      if (!text.starts_with(",,")) {
        text.remove_prefix(1);
        return item;
      }
      text.remove_prefix(1);
    }
    item += text[0];
    text.remove_prefix(1);
  }
  return item;
}

}  // namespace

Result<OptionList> parse_option_list(std::string_view text) {
  OptionList list;
  while (!text.empty()) {
    std::string item = take_item(text);
    const std::size_t equals = item.find('=');
    if (equals == 0 || item.empty()) {
      return fail(ErrorKind::kInvalid, fmt::format("option '{}' has no name", item));
    }
    if (equals == std::string::npos) {
      list.emplace_back(std::move(item), "on");
    } else {
      list.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    }
  }
  return list;
}

}  // namespace vmm::tools
