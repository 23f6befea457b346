// SPDX-License-Identifier: Apache-2.0
// DebugExit: a port by which a guest ends the run with an exit status of its own: test guests and
// CI use it. Nothing finds it by itself; the user says that it shall be there, and where.
#pragma once

#include <functional>

#include "vmm/core/bus.h"

namespace vmm::legacy {

// Sits on the port bus, kNrPorts ports. `on_exit` gets the low byte of what is written to the first
// one, on the vCPU's thread.
class DebugExit final : public BusDevice {
 public:
  static constexpr std::uint64_t kNrPorts = 4;  // for drivers that write 32 bits

  explicit DebugExit(std::function<void(std::uint8_t)> on_exit) : on_exit_(std::move(on_exit)) {}

  void read(std::uint64_t /*offset*/, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = std::byte{0};
  }
  void write(std::uint64_t offset, std::span<const std::byte> data) override {
    if (offset == 0) on_exit_(std::to_integer<std::uint8_t>(data[0]));
  }

 private:
  const std::function<void(std::uint8_t)> on_exit_;
};

}  // namespace vmm::legacy
