// SPDX-License-Identifier: Apache-2.0
// CmosRtc: the time of day in a PC's CMOS memory (Motorola MC146818), in UTC.
//
// Sits on the port bus at kPort, kNrPorts ports. It tells the host's time; a guest that sets the
// clock changes nothing. Alarms and periodic interrupts do not exist: IRQ 8 stays silent.
#pragma once

#include <array>
#include <cstdint>
#include <ctime>
#include <functional>
#include <mutex>

#include "vmm/core/bus.h"

namespace vmm::legacy {

class CmosRtc final : public BusDevice {
 public:
  static constexpr std::uint64_t kPort = 0x70;  // index; 0x71 is data
  static constexpr std::uint64_t kNrPorts = 2;
  static constexpr std::uint8_t kCenturyRegister = 0x32;  // for the ACPI FADT

  // `now` gives seconds since 1970; tests bring their own.
  explicit CmosRtc(std::function<std::time_t()> now = [] { return std::time(nullptr); });

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  std::uint8_t read_register(std::uint8_t index) const;
  std::uint8_t encode(int value) const;

  const std::function<std::time_t()> now_;
  std::mutex mutex_;  // guards what follows
  std::uint8_t index_ = 0;
  std::array<std::uint8_t, 128> memory_{};
};

}  // namespace vmm::legacy
