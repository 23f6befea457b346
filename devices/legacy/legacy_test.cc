// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <chrono>

#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/cmos_rtc.h"
#include "devices/legacy/debug_exit.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/pvpanic.h"
#include "devices/testing/fake_interrupt.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::legacy {
namespace {

template <class T>
T in(BusDevice& device, std::uint64_t offset) {
  std::array<std::byte, sizeof(T)> bytes;
  device.read(offset, bytes);
  return load_le<T>(bytes.data());
}

template <class T>
void out(BusDevice& device, std::uint64_t offset, T value) {
  std::array<std::byte, sizeof(T)> bytes;
  store_le(bytes.data(), value);
  device.write(offset, bytes);
}

unsigned cmos(CmosRtc& rtc, std::uint8_t index) {
  out<std::uint8_t>(rtc, 0, index);
  return in<std::uint8_t>(rtc, 1);
}

TEST_CASE("CmosRtc: tells the time of day in BCD, and in binary when asked", "[legacy]") {
  CmosRtc rtc([] { return std::time_t{951782399}; });  // 2000-02-28 23:59:59 UTC, a Monday
  CHECK(cmos(rtc, 0x00) == 0x59);
  CHECK(cmos(rtc, 0x02) == 0x59);
  CHECK(cmos(rtc, 0x04) == 0x23);
  CHECK(cmos(rtc, 0x06) == 2);
  CHECK(cmos(rtc, 0x07) == 0x28);
  CHECK(cmos(rtc, 0x08) == 0x02);
  CHECK(cmos(rtc, 0x09) == 0x00);
  CHECK(cmos(rtc, 0x32) == 0x20);
  CHECK((cmos(rtc, 0x0a) & 0x80) == 0);  // no update in progress
  CHECK((cmos(rtc, 0x0b) & 0x02) != 0);  // 24 hours
  CHECK((cmos(rtc, 0x0d) & 0x80) != 0);  // the battery is fine

  cmos(rtc, 0x0b);
  out<std::uint8_t>(rtc, 1, 0x06);
  CHECK(cmos(rtc, 0x04) == 23);
  CHECK(cmos(rtc, 0x07) == 28);
}

TEST_CASE("CmosRtc: its memory keeps bytes, its clock does not move", "[legacy]") {
  CmosRtc rtc([] { return std::time_t{951782399}; });
  for (unsigned i = 0; i < 256; ++i) {
    out<std::uint8_t>(rtc, 0, static_cast<std::uint8_t>(i));
    out<std::uint8_t>(rtc, 1, 0x11);
  }
  CHECK(cmos(rtc, 0x40) == 0x11);
  CHECK((cmos(rtc, 0x0b) & 0x02) != 0);
  CHECK(cmos(rtc, 0x00) == 0x59);
}

TEST_CASE("I8042: is always ready, and 0xfe resets", "[legacy]") {
  int nr_resets = 0;
  I8042 controller([&] { ++nr_resets; });
  CHECK(in<std::uint8_t>(controller, 0) == 0);
  out<std::uint8_t>(controller, 0, 0xd1);
  CHECK(nr_resets == 0);
  out<std::uint8_t>(controller, 0, 0xfe);
  CHECK(nr_resets == 1);
}

struct Power {
  testing::FakeInterrupt sci;
  int nr_power_offs = 0;
  int nr_resets = 0;
  AcpiPm pm{sci, [this] { ++nr_power_offs; }, [this] { ++nr_resets; }};
};

TEST_CASE("AcpiPm: SLP_EN with S5's type powers off, other types do not", "[legacy]") {
  Power power;
  CHECK(in<std::uint16_t>(power.pm, AcpiPm::kPm1Control) == 1);  // SCI_EN: ACPI is on
  out<std::uint16_t>(power.pm, AcpiPm::kPm1Control, 5 << 10);    // the type alone
  out<std::uint16_t>(power.pm, AcpiPm::kPm1Control, 3 << 10 | 1 << 13);
  CHECK(power.nr_power_offs == 0);
  out<std::uint16_t>(power.pm, AcpiPm::kPm1Control, 5 << 10 | 1 << 13);
  CHECK(power.nr_power_offs == 1);
  CHECK(in<std::uint16_t>(power.pm, AcpiPm::kPm1Control) == (5 << 10 | 1));
}

TEST_CASE("AcpiPm: the reset register resets for its value only", "[legacy]") {
  Power power;
  out<std::uint8_t>(power.pm, AcpiPm::kReset, 0);
  CHECK(power.nr_resets == 0);
  out<std::uint8_t>(power.pm, AcpiPm::kReset, AcpiPm::kResetValue);
  CHECK(power.nr_resets == 1);
}

TEST_CASE("AcpiPm: the power button raises the SCI once it is enabled, until it is cleared",
          "[legacy]") {
  Power power;
  power.pm.press_power_button();
  CHECK(power.sci.nr_signals == 0);
  out<std::uint16_t>(power.pm, AcpiPm::kPm1Event + 2, 1 << 8);
  CHECK(power.sci.nr_signals == 1);
  CHECK(in<std::uint16_t>(power.pm, AcpiPm::kPm1Event) == 1 << 8);
  power.pm.press_power_button();
  CHECK(power.sci.nr_signals == 1);
  out<std::uint16_t>(power.pm, AcpiPm::kPm1Event, 1 << 8);
  CHECK(in<std::uint16_t>(power.pm, AcpiPm::kPm1Event) == 0);
  power.pm.press_power_button();
  CHECK(power.sci.nr_signals == 2);
}

TEST_CASE("AcpiPm: the timer runs at 3.58 MHz", "[legacy]") {
  Power power;
  auto before = std::chrono::steady_clock::now();
  auto first = in<std::uint32_t>(power.pm, AcpiPm::kPmTimer);
  std::uint32_t ticks = 0;
  while (ticks < 3580) ticks = in<std::uint32_t>(power.pm, AcpiPm::kPmTimer) - first;
  auto took = std::chrono::steady_clock::now() - before;
  CHECK(took >= std::chrono::microseconds(990));
}

TEST_CASE("AcpiPm: accesses of every size and place are served", "[legacy]") {
  Power power;
  std::array<std::byte, 8> data{};
  for (std::size_t offset = 0; offset < AcpiPm::kNrPorts; ++offset) {
    for (std::size_t size = 1; size <= std::min<std::size_t>(8, AcpiPm::kNrPorts - offset);
         ++size) {
      power.pm.read(offset, std::span(data).first(size));
      power.pm.write(offset, std::span(data).first(size));
    }
  }
  SUCCEED("still here");
}

TEST_CASE("PvPanic: tells what it knows, and hears of a panic alone", "[legacy]") {
  int nr_panics = 0;
  PvPanic device([&] { ++nr_panics; });
  CHECK(in<std::uint8_t>(device, 0) == 1);
  out<std::uint8_t>(device, 0, 2);  // the guest's crash kernel takes over
  CHECK(nr_panics == 0);
  out<std::uint8_t>(device, 0, 1);
  CHECK(nr_panics == 1);
}

TEST_CASE("DebugExit: hands out the low byte, whatever the width", "[legacy]") {
  std::vector<int> statuses;
  DebugExit device([&](std::uint8_t status) { statuses.push_back(status); });
  out<std::uint8_t>(device, 0, 7);
  out<std::uint32_t>(device, 0, 0x12345642);
  out<std::uint8_t>(device, 1, 9);
  CHECK(statuses == std::vector<int>{7, 0x42});
}

}  // namespace
}  // namespace vmm::legacy
