// SPDX-License-Identifier: Apache-2.0
// PciTransport: a virtio device as a modern virtio-pci function (virtio 1.2, 4.1), with MSI-X and
// one notify address per queue for ioeventfds. There is no legacy interface and no INTx.
//
// How a machine uses it:
//   auto transport = PciTransport::create(device, msi, kicks);   // the device must outlive it
//   root.attach(**transport);                                    // pci::Root
//   ... vCPUs run ...
//   transport->stop();             // when no vCPU runs any more, while the I/O thread still does
// It needs one MSI vector per queue and one for configuration changes, and one eventfd per queue.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "devices/pci/device.h"
#include "devices/pci/msix.h"
#include "devices/virtio/transport_base.h"
#include "vmm/core/interrupt.h"

namespace vmm::virtio {

class PciTransport final : public pci::Device, public TransportBase {
 public:
  // The parts of BAR 0, in bytes from its start.
  static constexpr std::uint32_t kCommonConfig = 0x0000;
  static constexpr std::uint32_t kIsr = 0x1000;
  static constexpr std::uint32_t kDeviceConfig = 0x2000;
  static constexpr std::uint32_t kNotify = 0x3000;  // queue N: kNotify + N * kNotifyStep
  static constexpr std::uint32_t kMsixTable = 0x4000;
  static constexpr std::uint32_t kMsixPending = 0x6000;
  static constexpr std::uint32_t kBarSize = 0x8000;
  static constexpr std::uint32_t kNotifyStep = 4;
  static constexpr std::uint16_t kNoVector = 0xffff;

  // `kicks` may be null: every notification then leaves the guest, and still works. Both, and the
  // device, must outlive the transport.
  static Result<std::unique_ptr<PciTransport>> create(virtio::Device& device, MsiController& msi,
                                                      KickRegistrar* kicks);
  ~PciTransport() override;

  // pci::Device
  void read_bar(unsigned bar, std::uint64_t offset, std::span<std::byte> data) override;
  void write_bar(unsigned bar, std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  struct QueueVector;

  PciTransport(virtio::Device& device, KickRegistrar* kicks, std::unique_ptr<pci::Msix> msix);
  void add_capabilities();
  void add_virtio_capability(std::uint8_t type, std::uint32_t offset, std::uint32_t length);

  void send(std::uint16_t vector);

  void on_config_written(std::size_t offset, std::size_t size) override;
  void on_config_read(std::size_t offset, std::size_t size) override;
  void on_bar_moved(unsigned bar) override;
  bool config_window(std::uint64_t& offset, std::size_t& size);

  // TransportBase
  Interrupt& queue_interrupt(std::uint16_t index) override;
  void signal_config() override;
  bool fix_notify_addresses() override;
  Result<void> bind_kick(std::uint16_t index, int event_fd) override;
  Result<void> unbind_kick(std::uint16_t index, int event_fd) override;
  void on_clear() override;

  // All with registers_mutex_ held.
  void read_common(std::uint64_t offset, std::span<std::byte> data);
  void write_common(std::uint64_t offset, std::span<const std::byte> data);
  void write_register32(std::uint64_t offset, std::uint32_t value);
  void write_register16(std::uint64_t offset, std::uint16_t value);

  const std::unique_ptr<pci::Msix> msix_;
  std::size_t msix_capability_ = 0;  // offsets in the configuration space
  std::size_t window_capability_ = 0;

  // Read on the device's thread too.
  std::atomic<std::uint16_t> config_vector_ = kNoVector;
  std::vector<std::unique_ptr<QueueVector>> queue_vectors_;  // the vector itself never changes

  std::uint64_t bound_base_ =
      0;  // the BAR's address that kicks are bound at; guarded by registers_mutex_
};

}  // namespace vmm::virtio
