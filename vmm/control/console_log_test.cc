// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/console_log.h"

#include "vmm/core/testing/catch.h"

namespace vmm::control {
namespace {

void say(ConsoleLog& log, const std::string& text) {
  log.append(std::as_bytes(std::span(text)));
}

TEST_CASE("ConsoleLog: each reader gets everything, in the pieces it asks for", "[control]") {
  ConsoleLog log;
  say(log, "abc");
  say(log, "def");
  std::uint64_t first = 0, second = 0;
  CHECK(log.read(first, 4) == "abcd");
  CHECK(log.read(first, 4) == "ef");
  CHECK(log.read(first, 4).empty());
  CHECK(first == log.end());
  CHECK(log.read(second, 100) == "abcdef");
  say(log, "g");
  CHECK(log.read(first, 100) == "g");
}

TEST_CASE("ConsoleLog: who reads slowly misses what is too old", "[control]") {
  ConsoleLog log;
  for (int i = 0; i < 10; ++i) say(log, std::string(ConsoleLog::kCapacity / 2 + 1, char('0' + i)));
  std::uint64_t position = 0;
  const std::string kept = log.read(position, ~std::size_t{0});
  CHECK(kept.size() == ConsoleLog::kCapacity);
  CHECK(kept.front() == '8');
  CHECK(kept.back() == '9');
  CHECK(position == log.end());
  CHECK(log.end() == 10 * (ConsoleLog::kCapacity / 2 + 1));
  say(log, std::string(10 * ConsoleLog::kCapacity, 'x'));
  CHECK(log.read(position, ~std::size_t{0}) == std::string(ConsoleLog::kCapacity, 'x'));
}

}  // namespace
}  // namespace vmm::control
