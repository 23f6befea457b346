// SPDX-License-Identifier: Apache-2.0
// Results in the Test Anything Protocol on the first serial port. Instructions are dear where
// guests are interpreted (about 2 million a second): keep texts short.
#pragma once

#include <cstdint>

namespace guest {

void print(const char* text);
void print_hex(std::uint64_t value);

// One test. `name` must not hold '#'.
void check(bool good, const char* name);
// The same for two numbers, which are shown where they differ.
void check_equal(std::uint64_t got, std::uint64_t expected, const char* name);
void remark(const char* text);

// Prints the plan and powers the machine off. guest_main() ends with it by itself.
[[noreturn]] void finish();

}  // namespace guest

// What each guest is.
extern "C" void guest_main();
