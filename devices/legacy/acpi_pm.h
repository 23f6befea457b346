// SPDX-License-Identifier: Apache-2.0
// AcpiPm: ACPI's fixed hardware (ACPI 6.4, 4.8.3): the way a guest says "power off" and "reset",
// and the way we press its power button.
//
// Sits on the port bus with kNrPorts ports at an address of the machine's choice. What the FADT
// must say: PM1a_EVT_BLK = base + kPm1Event (length 4), PM1a_CNT_BLK = base + kPm1Control (length
// 2), PM_TMR_BLK = base + kPmTimer (length 4, TMR_VAL_EXT), RESET_REG = base + kReset with
// RESET_VALUE = kResetValue; hardware is always in ACPI mode (SMI_CMD = 0). \_S5 holds
// kSleepTypePowerOff. The SCI is an edge here: give its IRQ an Interrupt Source Override in the
// MADT (edge, active high).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "vmm/core/bus.h"
#include "vmm/core/interrupt.h"

namespace vmm::legacy {

class AcpiPm final : public BusDevice {
 public:
  static constexpr std::uint64_t kPm1Event = 0;    // status, 2 bytes; enable, 2 bytes
  static constexpr std::uint64_t kPm1Control = 4;  // 2 bytes
  static constexpr std::uint64_t kPmTimer = 8;     // 4 bytes, 3.579545 MHz, 32 bits wide
  static constexpr std::uint64_t kReset = 12;      // 1 byte
  static constexpr std::uint64_t kNrPorts = 16;
  static constexpr std::uint8_t kSleepTypePowerOff = 5;
  static constexpr std::uint8_t kResetValue = 1;

  // The callbacks run on the vCPU's thread, without locks. `sci` must outlive the device.
  AcpiPm(Interrupt& sci, std::function<void()> on_power_off, std::function<void()> on_reset);

  // From any thread. The guest may ignore it.
  void press_power_button();

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  enum class Action { kNone, kPowerOff, kReset };
  Action write_byte(std::uint64_t offset, std::uint8_t value);
  void update_sci();

  Interrupt& sci_;
  const std::function<void()> on_power_off_;
  const std::function<void()> on_reset_;

  std::mutex mutex_;  // guards what follows
  std::uint16_t status_ = 0;
  std::uint16_t enable_ = 0;
  std::uint16_t control_;
  bool sci_high_ = false;
};

}  // namespace vmm::legacy
