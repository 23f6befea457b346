// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/size.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

namespace vmm::tools {

namespace {

constexpr std::uint64_t kMaxSize = std::numeric_limits<std::int64_t>::max();

Unexpected<Error> not_a_size(std::string_view text) {
  return fail(ErrorKind::kInvalid, fmt::format("'{}' is not a size", text));
}
Unexpected<Error> too_large(std::string_view text) {
  return fail(ErrorKind::kOutOfRange, fmt::format("'{}' is too large for a size", text));
}

// The factor a suffix stands for; 0 where it stands for none.
std::uint64_t factor_of(char suffix) {
  const std::string_view suffixes = "bkmgtpe";
  const auto at = suffixes.find(static_cast<char>(std::tolower(suffix)));
  return at == std::string_view::npos ? 0 : std::uint64_t{1} << (10 * at);
}

// Takes the digits of ".75" off `rest`, and gives 0.75. No exponent is accepted.
double take_fraction(std::string_view& rest) {
  double value = 0;
  double unit = 0.1;
  rest.remove_prefix(1);
  while (!rest.empty() && std::isdigit(static_cast<unsigned char>(rest[0]))) {
    value += (rest[0] - '0') * unit;
    unit /= 10;
    rest.remove_prefix(1);
  }
  return value;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t default_unit) {
  std::string_view rest = text;
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest[0]))) rest.remove_prefix(1);
  if (!rest.empty() && rest[0] == '+') rest.remove_prefix(1);

  const bool hex = rest.starts_with("0x") || rest.starts_with("0X");
  if (hex) rest.remove_prefix(2);
  std::uint64_t whole = 0;
  const auto [end, error] =
      std::from_chars(rest.data(), rest.data() + rest.size(), whole, hex ? 16 : 10);
  if (error == std::errc::result_out_of_range) return too_large(text);
  if (error != std::errc()) return not_a_size(text);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));

  double fraction = 0;
  if (!hex && !rest.empty() && rest[0] == '.') fraction = take_fraction(rest);

  std::uint64_t factor = default_unit;
  if (!rest.empty()) {
    factor = factor_of(rest[0]);
    if (factor == 0 || rest.size() > 1) return not_a_size(text);
  }
  if (factor == 1 && fraction != 0) return not_a_size(text);

  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(whole, factor, &bytes) || bytes > kMaxSize) return too_large(text);
  // Less than one factor, so that the sum cannot wrap.
  bytes += static_cast<std::uint64_t>(fraction * static_cast<double>(factor) + 0.5);
  if (bytes > kMaxSize) return too_large(text);
  return bytes;
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  const Result<std::uint64_t> rate = parse_size(text);
  if (rate && *rate > 0) return rate;
  return fail(ErrorKind::kInvalid,
              fmt::format("-r {}: not a rate: write bytes a second, as 512k or 10M", text));
}

std::string format_size(double bytes) {
  struct Unit {
    double factor;
    const char* name;
  };
  static constexpr std::array<Unit, 6> kUnits = {{{0x1p60, "EiB"},
                                                  {0x1p50, "PiB"},
                                                  {0x1p40, "TiB"},
                                                  {0x1p30, "GiB"},
                                                  {0x1p20, "MiB"},
                                                  {0x1p10, "KiB"}}};
  std::string number;
  const char* name = "bytes";
  for (const Unit& unit : kUnits) {
    if (bytes < unit.factor) continue;
    number = fmt::format("{:.3f}", bytes / unit.factor);
    name = unit.name;
    break;
  }
  if (number.empty()) number = fmt::format("{:f}", bytes);
  // A whole number is written without its fraction.
  if (const auto at = number.find(".000"); at != std::string::npos) number.resize(at);
  return fmt::format("{} {}", number, name);
}

std::string format_size_short(std::uint64_t bytes) {
  static constexpr std::array<const char*, 7> kNames = {"B",   "KiB", "MiB", "GiB",
                                                        "TiB", "PiB", "EiB"};
  // The unit is chosen so that what is rounded to three digits stays below 1000 of it.
  int exponent = 0;
  std::frexp(static_cast<double>(bytes) / (1000.0 / 1024.0), &exponent);
  const auto unit = static_cast<std::size_t>(exponent <= 0 ? 0 : (exponent - 1) / 10);
  const double value = static_cast<double>(bytes) / std::pow(1024.0, static_cast<double>(unit));
  return fmt::format("{:.3g} {}", value, kNames[unit]);
}

}  // namespace vmm::tools
