// SPDX-License-Identifier: Apache-2.0
#include "devices/legacy/acpi_pm.h"

#include <array>
#include <chrono>

#include "vmm/core/byte_order.h"

namespace vmm::legacy {
namespace {

constexpr std::uint16_t kPowerButton = 1 << 8;     // PWRBTN_STS, PWRBTN_EN
constexpr std::uint16_t kSciEnable = 1 << 0;       // PM1_CNT: ACPI mode is on
constexpr std::uint16_t kSleepTypeMask = 7 << 10;  // PM1_CNT: SLP_TYPx
constexpr std::uint8_t kSleepEnableHigh = 1 << 5;  // SLP_EN, bit 13, in the high byte
constexpr std::uint64_t kTimerHz = 3579545;

std::uint32_t timer_ticks() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  auto ns =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
  constexpr std::uint64_t kNsPerSecond = 1000000000;
  return static_cast<std::uint32_t>(ns / kNsPerSecond * kTimerHz +
                                    ns % kNsPerSecond * kTimerHz / kNsPerSecond);
}

void set_byte(std::uint16_t& word, std::uint64_t index, std::uint8_t value) {
  auto shift = static_cast<unsigned>(index * 8);
  word = static_cast<std::uint16_t>((word & ~(0xffu << shift)) | unsigned{value} << shift);
}

}  // namespace

AcpiPm::AcpiPm(Interrupt& sci, std::function<void()> on_power_off, std::function<void()> on_reset)
    : sci_(sci),
      on_power_off_(std::move(on_power_off)),
      on_reset_(std::move(on_reset)),
      control_(kSciEnable) {
}

void AcpiPm::press_power_button() {
  std::lock_guard lock(mutex_);
  status_ |= kPowerButton;
  update_sci();
}

void AcpiPm::read(std::uint64_t offset, std::span<std::byte> data) {
  std::array<std::byte, kNrPorts> image{};
  {
    std::lock_guard lock(mutex_);
    store_le(&image[kPm1Event], status_);
    store_le(&image[kPm1Event + 2], enable_);
    store_le(&image[kPm1Control], control_);
  }
  store_le(&image[kPmTimer], timer_ticks());
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = image[offset + i];
}

void AcpiPm::write(std::uint64_t offset, std::span<const std::byte> data) {
  Action action = Action::kNone;
  {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < data.size(); ++i) {
      Action asked = write_byte(offset + i, std::to_integer<std::uint8_t>(data[i]));
      if (asked != Action::kNone) action = asked;
    }
    update_sci();
  }
  if (action == Action::kPowerOff) on_power_off_();
  if (action == Action::kReset) on_reset_();
}

AcpiPm::Action AcpiPm::write_byte(std::uint64_t offset, std::uint8_t value) {
  switch (offset) {
    case kPm1Event:
    case kPm1Event + 1: {  // a one clears
      std::uint16_t ones = 0;
      set_byte(ones, offset - kPm1Event, value);
      status_ &= static_cast<std::uint16_t>(~ones);
      return Action::kNone;
    }
    case kPm1Event + 2:
    case kPm1Event + 3:
      set_byte(enable_, offset - (kPm1Event + 2), value);
      return Action::kNone;
    case kPm1Control:
      set_byte(control_, 0, value | kSciEnable);
      return Action::kNone;
    case kPm1Control + 1:
      // SLP_EN is write-only.
      set_byte(control_, 1, value & static_cast<std::uint8_t>(~kSleepEnableHigh));
      if ((value & kSleepEnableHigh) != 0 &&
          (control_ & kSleepTypeMask) >> 10 == kSleepTypePowerOff) {
        return Action::kPowerOff;
      }
      return Action::kNone;
    case kReset:
      return value == kResetValue ? Action::kReset : Action::kNone;
    default:
      return Action::kNone;
  }
}

void AcpiPm::update_sci() {
  bool high = (status_ & enable_) != 0;
  if (high && !sci_high_) sci_.signal();
  sci_high_ = high;
}

}  // namespace vmm::legacy
