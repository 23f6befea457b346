// SPDX-License-Identifier: Apache-2.0
// PvPanic: the port by which a guest's kernel says that it panics (QEMU's docs/specs/pvpanic; Linux
// finds it through ACPI as QEMU0001).
#pragma once

#include <functional>

#include "vmm/core/bus.h"

namespace vmm::legacy {

// Sits on the port bus, kNrPorts ports, at an address of the machine's choice. `on_panic` is called
// on the vCPU's thread, as often as the guest writes.
class PvPanic final : public BusDevice {
 public:
  static constexpr std::uint64_t kNrPorts = 1;

  explicit PvPanic(std::function<void()> on_panic) : on_panic_(std::move(on_panic)) {}

  // The events there are. A guest whose own crash kernel takes over (bit 1) goes on by itself.
  void read(std::uint64_t /*offset*/, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = kPanicked;
  }
  void write(std::uint64_t /*offset*/, std::span<const std::byte> data) override {
    if ((data[0] & kPanicked) != std::byte{0}) on_panic_();
  }

 private:
  static constexpr std::byte kPanicked{1};
  const std::function<void()> on_panic_;
};

}  // namespace vmm::legacy
