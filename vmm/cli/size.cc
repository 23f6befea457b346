// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/size.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <string>

namespace vmm::cli {
namespace {

// Bytes that a suffix stands for; 0 where it is none.
std::uint64_t unit_of(std::string_view suffix) {
  std::string lower(suffix);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  if (lower == "b") return 1;
  if (lower.size() == 2 && lower[1] == 'b') lower.pop_back();
  if (lower.size() == 3 && lower.ends_with("ib")) lower.resize(1);
  if (lower.size() != 1) return 0;
  switch (lower[0]) {
    case 'k':
      return std::uint64_t{1} << 10;
    case 'm':
      return std::uint64_t{1} << 20;
    case 'g':
      return std::uint64_t{1} << 30;
    case 't':
      return std::uint64_t{1} << 40;
    default:
      return 0;
  }
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t unit, std::string_view flag) {
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  if (!suffix.empty()) unit = unit_of(suffix);
  if (error == std::errc::invalid_argument || unit == 0) {
    return fail(
        ErrorKind::kInvalid,
        fmt::format("{}: '{}' is not a size; expected a number, with K, M, G or T behind it "
                    "if you like",
                    flag, text));
  }
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (error == std::errc::result_out_of_range || number > kMax / unit) {
    return fail(ErrorKind::kInvalid, fmt::format("{}: {} is too large", flag, text));
  }
  return number * unit;
}

Result<std::uint64_t> parse_count(std::string_view text, std::string_view flag) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return fail(ErrorKind::kInvalid, fmt::format("{}: '{}' is not a whole number", flag, text));
}

}  // namespace vmm::cli
