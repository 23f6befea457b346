// SPDX-License-Identifier: Apache-2.0
// A virtio-mmio driver with one queue (virtio 1.2, 4.2.2 and 4.2.3).
#pragma once

#include <cstdint>

#include "devices/testing/mmio_registers.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/virtio.h"

namespace guest {

namespace mmio = vmm::testing::mmio;

class VirtioMmioDevice {
 public:
  constexpr explicit VirtioMmioDevice(std::uint64_t address) : address_(address) {}

  std::uint64_t at(unsigned reg) const { return address_ + reg; }
  std::uint32_t get(unsigned reg) const { return read<std::uint32_t>(at(reg)); }
  void set(unsigned reg, std::uint32_t value) const { write<std::uint32_t>(at(reg), value); }

  // The magic value, version 2, and this type (2: block).
  bool is(std::uint32_t type) const;
  std::uint64_t features() const;
  // Writes 0: the device is reset when that is over.
  bool reset() const;
  bool negotiate(std::uint64_t features) const;
  void set_up_queue(Rings& rings) const;
  // All of it.
  bool start(std::uint64_t features, Rings& rings) const;

 private:
  std::uint64_t address_;
};

}  // namespace guest
