// SPDX-License-Identifier: Apache-2.0
// PciDriver: a guest's virtio-pci driver, for tests. It sees what a guest sees: the configuration
// ports and the memory window of the PCI root, and finds its way by the capabilities.
#pragma once

#include <cstdint>
#include <optional>

#include "devices/pci/root.h"
#include "devices/testing/fake_interrupt.h"
#include "devices/testing/queue_driver.h"
#include "vmm/core/bus.h"

namespace vmm::testing {

// Puts a root's ranges on buses, as a machine does.
struct PciBuses {
  static constexpr std::uint64_t kWindow = 0xd0000000;
  static constexpr std::uint64_t kWindowSize = 0x10000000;
  static constexpr std::uint64_t kEcam = 0xe0000000;

  explicit PciBuses(pci::Root& root);

  std::uint32_t read_config(unsigned slot, unsigned offset, unsigned size) const;
  void write_config(unsigned slot, unsigned offset, unsigned size, std::uint32_t value) const;
  std::uint64_t read(std::uint64_t address, unsigned size) const;
  void write(std::uint64_t address, unsigned size, std::uint64_t value) const;

  Bus ports{"port"};
  Bus mmio{"MMIO"};
};

// virtio 1.2, 4.1.4.3: offsets in the common configuration.
enum CommonRegister : unsigned {
  kDeviceFeatureSelect = 0,
  kDeviceFeature = 4,
  kDriverFeatureSelect = 8,
  kDriverFeature = 12,
  kConfigMsixVector = 16,
  kNumQueues = 18,
  kDeviceStatus = 20,
  kConfigGeneration = 21,
  kQueueSelect = 22,
  kQueueSize = 24,
  kQueueMsixVector = 26,
  kQueueEnable = 28,
  kQueueNotifyOff = 30,
  kQueueDesc = 32,
  kQueueDriver = 40,
  kQueueDevice = 48,
};

class PciDriver {
 public:
  // Finds the device's capabilities. `kicks` may be null.
  PciDriver(const PciBuses& buses, unsigned slot, FakeKickRegistrar* kicks);

  // Where a part is, by its type (1 common, 2 notify, 3 ISR, 4 device); 0 where it is not.
  std::uint64_t part(unsigned type) const;
  std::optional<unsigned> find_capability(unsigned id, unsigned virtio_type = 0) const;

  std::uint64_t common(unsigned reg, unsigned size) const;
  void set_common(unsigned reg, unsigned size, std::uint64_t value) const;
  std::uint8_t status() const { return static_cast<std::uint8_t>(common(kDeviceStatus, 1)); }
  void set_status(std::uint8_t status) const { set_common(kDeviceStatus, 1, status); }
  std::uint64_t device_features() const;

  // virtio 1.2, 3.1.1, steps 1 to 6: false where the device refused the features.
  bool negotiate(std::uint64_t features) const;
  void set_up_queue(std::uint16_t index, const virtio::QueueLayout& layout,
                    std::uint16_t vector = 0xffff) const;
  void driver_ok() const { set_status(status() | 4); }

  // MSI-X: enables it, and one vector.
  void enable_msix() const;
  void set_vector(unsigned vector, std::uint64_t address, std::uint32_t data, bool masked) const;

  // Stores to the queue's notify address, as a guest does: by ioeventfd where one is bound.
  void kick(std::uint16_t queue) const;
  std::uint64_t notify_address(std::uint16_t queue) const;

 private:
  const PciBuses& buses_;
  const unsigned slot_;
  FakeKickRegistrar* const kicks_;
};

}  // namespace vmm::testing
