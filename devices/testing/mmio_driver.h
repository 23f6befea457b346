// SPDX-License-Identifier: Apache-2.0
// MmioDriver: a guest's virtio-mmio driver, for tests (virtio 1.2, 4.2.2 and 4.2.3). It sees what a
// guest sees: a bus, and where on it the device is.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "devices/testing/fake_interrupt.h"
#include "devices/testing/mmio_registers.h"
#include "devices/virtio/queue.h"
#include "vmm/core/bus.h"
#include "vmm/core/byte_order.h"

namespace vmm::testing {

class MmioDriver {
 public:
  // `kicks` may be null.
  MmioDriver(const Bus& bus, std::uint64_t address, FakeKickRegistrar* kicks)
      : bus_(bus), address_(address), kicks_(kicks) {}

  std::uint64_t read(std::uint64_t reg, unsigned size = 4) const {
    std::array<std::byte, 8> bytes{};
    bus_.read(address_ + reg, std::span(bytes).first(size));
    return load_le<std::uint64_t>(bytes.data());
  }
  void write(std::uint64_t reg, std::uint64_t value, unsigned size = 4) const {
    std::array<std::byte, 8> bytes;
    store_le(bytes.data(), value);
    bus_.write(address_ + reg, std::span<const std::byte>(bytes).first(size));
  }

  std::uint64_t status() const { return read(mmio::kStatus); }
  void set_status(std::uint32_t status) const { write(mmio::kStatus, status); }
  std::uint64_t device_features() const {
    write(mmio::kDeviceFeaturesSel, 1);
    std::uint64_t features = read(mmio::kDeviceFeatures) << 32;
    write(mmio::kDeviceFeaturesSel, 0);
    return features | read(mmio::kDeviceFeatures);
  }
  // virtio 1.2, 3.1.1, steps 1 to 6: false where the device refused the features.
  bool negotiate(std::uint64_t features) const {
    for (std::uint32_t status : {0u, 1u, 1u | 2u}) set_status(status);
    for (unsigned half = 0; half < 2; ++half) {
      write(mmio::kDriverFeaturesSel, half);
      write(mmio::kDriverFeatures, features >> (32 * half) & 0xffffffff);
    }
    set_status(1 | 2 | 8);
    return (status() & 8) != 0;
  }
  void set_up_queue(std::uint16_t index, const virtio::QueueLayout& layout) const {
    write(mmio::kQueueSel, index);
    write(mmio::kQueueNum, layout.size);
    write64(mmio::kQueueDesc, layout.descriptors.value);
    write64(mmio::kQueueDriver, layout.driver_area.value);
    write64(mmio::kQueueDevice, layout.device_area.value);
    write(mmio::kQueueReady, 1);
  }
  void driver_ok() const { set_status(static_cast<std::uint32_t>(status()) | 4); }
  // By ioeventfd where one is bound.
  void kick(std::uint16_t queue) const {
    if (kicks_ != nullptr && kicks_->store(GuestAddress(address_ + mmio::kQueueNotify), queue)) {
      return;
    }
    write(mmio::kQueueNotify, queue);
  }

 private:
  void write64(std::uint64_t reg, std::uint64_t value) const {
    write(reg, value & 0xffffffff);
    write(reg + 4, value >> 32);
  }

  const Bus& bus_;
  const std::uint64_t address_;
  FakeKickRegistrar* const kicks_;
};

}  // namespace vmm::testing
