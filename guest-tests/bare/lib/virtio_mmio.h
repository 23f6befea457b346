// SPDX-License-Identifier: Apache-2.0
// A virtio-mmio driver with one queue (virtio 1.2, 4.2.2 and 4.2.3).
#pragma once

#include <cstdint>

#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/virtio.h"

namespace guest {

namespace mmio {
enum Register : unsigned {
  kMagic = 0x00,
  kVersion = 0x04,
  kDeviceId = 0x08,
  kDeviceFeatures = 0x10,
  kDeviceFeaturesSel = 0x14,
  kDriverFeatures = 0x20,
  kDriverFeaturesSel = 0x24,
  kQueueSel = 0x30,
  kQueueNumMax = 0x34,
  kQueueNum = 0x38,
  kQueueReady = 0x44,
  kQueueNotify = 0x50,
  kInterruptStatus = 0x60,
  kInterruptAck = 0x64,
  kStatus = 0x70,
  kQueueDesc = 0x80,
  kQueueDriver = 0x90,
  kQueueDevice = 0xa0,
  kConfig = 0x100,
};
inline constexpr std::uint32_t kMagicValue = 0x74726976;
}  // namespace mmio

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
