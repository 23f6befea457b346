// SPDX-License-Identifier: Apache-2.0
// I8042: of the PC's keyboard controller, the one thing that firmware-less guests use: its pulse on
// the CPU's reset line. There is no keyboard; say so in the ACPI FADT (IAPC_BOOT_ARCH bit 1 clear),
// or Linux spends half a second looking for one.
#pragma once

#include <functional>

#include "vmm/core/bus.h"

namespace vmm::legacy {

// Sits on the port bus at kPort, kNrPorts ports. `on_reset` is called on the vCPU's thread.
class I8042 final : public BusDevice {
 public:
  static constexpr std::uint64_t kPort = 0x64;
  static constexpr std::uint64_t kNrPorts = 1;

  explicit I8042(std::function<void()> on_reset) : on_reset_(std::move(on_reset)) {}

  // Status: both buffers empty, which is what a driver waits for before it sends a command.
  void read(std::uint64_t /*offset*/, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = std::byte{0};
  }
  void write(std::uint64_t /*offset*/, std::span<const std::byte> data) override {
    if (data[0] == std::byte{0xfe}) on_reset_();
  }

 private:
  const std::function<void()> on_reset_;
};

}  // namespace vmm::legacy
