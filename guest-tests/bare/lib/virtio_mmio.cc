// SPDX-License-Identifier: Apache-2.0
#include "guest-tests/bare/lib/virtio_mmio.h"

namespace guest {

bool VirtioMmioDevice::is(std::uint32_t type) const {
  return get(mmio::kMagic) == mmio::kMagicValue && get(mmio::kVersion) == 2 &&
         get(mmio::kDeviceId) == type;
}

std::uint64_t VirtioMmioDevice::features() const {
  set(mmio::kDeviceFeaturesSel, 1);
  std::uint64_t high = get(mmio::kDeviceFeatures);
  set(mmio::kDeviceFeaturesSel, 0);
  return high << 32 | get(mmio::kDeviceFeatures);
}

bool VirtioMmioDevice::reset() const {
  set(mmio::kStatus, 0);
  return get(mmio::kStatus) == 0;
}

bool VirtioMmioDevice::negotiate(std::uint64_t features) const {
  if (!reset()) return false;
  set(mmio::kStatus, kAcknowledge | kDriver);
  set(mmio::kDriverFeaturesSel, 0);
  set(mmio::kDriverFeatures, static_cast<std::uint32_t>(features));
  set(mmio::kDriverFeaturesSel, 1);
  set(mmio::kDriverFeatures, static_cast<std::uint32_t>(features >> 32));
  set(mmio::kStatus, kAcknowledge | kDriver | kFeaturesOk);
  return (get(mmio::kStatus) & kFeaturesOk) != 0;
}

void VirtioMmioDevice::set_up_queue(Rings& rings) const {
  set(mmio::kQueueSel, 0);
  set(mmio::kQueueNum, kQueueSize);
  set(mmio::kQueueDesc, static_cast<std::uint32_t>(address_of(rings)));
  set(mmio::kQueueDesc + 4, 0);
  set(mmio::kQueueDriver, static_cast<std::uint32_t>(address_of(rings.avail)));
  set(mmio::kQueueDriver + 4, 0);
  set(mmio::kQueueDevice, static_cast<std::uint32_t>(address_of(rings.used)));
  set(mmio::kQueueDevice + 4, 0);
  set(mmio::kQueueReady, 1);
}

bool VirtioMmioDevice::start(std::uint64_t features, Rings& rings) const {
  if (!negotiate(features)) return false;
  set_up_queue(rings);
  set(mmio::kStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
  return true;
}

}  // namespace guest
