// SPDX-License-Identifier: Apache-2.0
#include "guest-tests/bare/lib/tap.h"

#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/io.h"

namespace guest {
namespace {

namespace layout = vmm::x86::layout;

constexpr std::uint16_t kPm1Control = layout::kAcpiPmPort + 4;
constexpr std::uint16_t kSleepTypePowerOff = 5;  // \_S5
constexpr std::uint16_t kSleepEnable = 1 << 13;

unsigned nr_tests = 0;

void print_decimal(unsigned value) {
  if (value >= 10) print_decimal(value / 10);
  out8(layout::kCom1Port, static_cast<std::uint8_t>('0' + value % 10));
}

void begin_line(bool good, const char* name) {
  print(good ? "ok " : "not ok ");
  print_decimal(++nr_tests);
  print(" - ");
  print(name);
}

}  // namespace

void print(const char* text) {
  for (; *text != '\0'; ++text) out8(layout::kCom1Port, static_cast<std::uint8_t>(*text));
}

void print_hex(std::uint64_t value) {
  print("0x");
  bool started = false;
  for (int shift = 60; shift >= 0; shift -= 4) {
    auto digit = static_cast<unsigned>(value >> shift & 15);
    started = started || digit != 0 || shift == 0;
    if (!started) continue;
    out8(layout::kCom1Port, static_cast<std::uint8_t>(digit < 10 ? '0' + digit : 'a' + digit - 10));
  }
}

void check(bool good, const char* name) {
  begin_line(good, name);
  print("\n");
}

void check_equal(std::uint64_t got, std::uint64_t expected, const char* name) {
  check(got == expected, name);
  if (got == expected) return;
  print("# got ");
  print_hex(got);
  print(", expected ");
  print_hex(expected);
  print("\n");
}

void remark(const char* text) {
  print("# ");
  print(text);
  print("\n");
}

void finish() {
  print("1..");
  print_decimal(nr_tests);
  print("\n");
  out16(kPm1Control, kSleepTypePowerOff << 10 | kSleepEnable);
  while (true) asm volatile("hlt");
}

}  // namespace guest

extern "C" void guest_end() {
  guest::finish();
}
