// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/version_order.h"

#include <cstddef>

namespace vmm::bootfind {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
// Everything else only separates.
bool counts(char c) {
  return is_digit(c) || is_letter(c) || c == '~' || c == '-' || c == '^' || c == '.';
}

// Removes the run of characters that `belongs` accepts from the front, and gives it.
std::string_view take_run(std::string_view& text, bool (*belongs)(char)) {
  std::size_t length = 0;
  while (length < text.size() && belongs(text[length])) ++length;
  std::string_view run = text.substr(0, length);
  text.remove_prefix(length);
  return run;
}

int sign(int value) {
  return value < 0 ? -1 : value > 0;
}

int compare_numbers(std::string_view a, std::string_view b) {
  while (!a.empty() && a[0] == '0') a.remove_prefix(1);
  while (!b.empty() && b[0] == '0') b.remove_prefix(1);
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return sign(a.compare(b));
}

// Upper case sorts before lower case, and a shorter run before one it begins.
int compare_letters(std::string_view a, std::string_view b) {
  return sign(a.compare(b));
}

}  // namespace

int compare_versions(std::string_view a, std::string_view b) {
  while (true) {
    while (!a.empty() && !counts(a[0])) a.remove_prefix(1);
    while (!b.empty() && !counts(b[0])) b.remove_prefix(1);
    const char first = a.empty() ? '\0' : a[0], second = b.empty() ? '\0' : b[0];
    if ((first == '~') != (second == '~')) return first == '~' ? -1 : 1;
    if (first == '\0' || second == '\0') return (first != '\0') - (second != '\0');
    bool both = false;
    for (char mark : {'~', '-', '^', '.'}) {
      if ((first == mark) != (second == mark)) return first == mark ? -1 : 1;
      both = both || first == mark;
    }
    if (both) {
      a.remove_prefix(1);
      b.remove_prefix(1);
      continue;
    }
    const bool numbers = is_digit(first) || is_digit(second);
    auto* belongs = numbers ? is_digit : is_letter;
    std::string_view x = take_run(a, belongs), y = take_run(b, belongs);
    // A number is newer than letters where one side has none.
    if (int order = numbers
                        ? (x.empty() != y.empty() ? (x.empty() ? -1 : 1) : compare_numbers(x, y))
                        : compare_letters(x, y)) {
      return order;
    }
  }
}

}  // namespace vmm::bootfind
