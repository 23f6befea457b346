// SPDX-License-Identifier: Apache-2.0
// The registers of virtio-mmio as drivers know them (virtio 1.2, 4.2.2), for tests and for guests
// of the bare machine. The transport has its own list, so that a slip in one shows.
#pragma once

#include <cstdint>

namespace vmm::testing::mmio {

enum Register : std::uint32_t {
  kMagic = 0x00,
  kVersion = 0x04,
  kDeviceId = 0x08,
  kVendorId = 0x0c,
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
  kShmLen = 0xb0,
  kConfigGeneration = 0xfc,
  kConfig = 0x100,
};

inline constexpr std::uint32_t kMagicValue = 0x74726976;  // "virt"

}  // namespace vmm::testing::mmio
