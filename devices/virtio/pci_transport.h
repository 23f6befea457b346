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

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "devices/pci/device.h"
#include "devices/pci/msix.h"
#include "devices/virtio/device.h"
#include "vmm/core/interrupt.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

// virtio 1.2, 2.1.
inline constexpr std::uint8_t kStatusAcknowledge = 1;
inline constexpr std::uint8_t kStatusDriver = 2;
inline constexpr std::uint8_t kStatusDriverOk = 4;
inline constexpr std::uint8_t kStatusFeaturesOk = 8;
inline constexpr std::uint8_t kStatusNeedsReset = 64;
inline constexpr std::uint8_t kStatusFailed = 128;

class PciTransport final : public pci::Device, private Transport {
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
  static constexpr std::uint16_t kMaxQueues = 256;
  static constexpr std::uint16_t kNoVector = 0xffff;

  // `kicks` may be null: every notification then leaves the guest, and still works. Both, and the
  // device, must outlive the transport.
  static Result<std::unique_ptr<PciTransport>> create(virtio::Device& device, MsiController& msi,
                                                      KickRegistrar* kicks);
  ~PciTransport() override;

  // Resets the device and waits until nothing of it is in flight. Not from the device's own thread,
  // and only when no vCPU runs.
  void stop();

  // From any thread.
  void config_changed() override;

  // pci::Device
  void read_bar(unsigned bar, std::uint64_t offset, std::span<std::byte> data) override;
  void write_bar(unsigned bar, std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  struct QueueState;

  PciTransport(virtio::Device& device, KickRegistrar* kicks, std::unique_ptr<pci::Msix> msix);
  Result<void> create_queues();
  void add_capabilities();
  void add_virtio_capability(std::uint8_t type, std::uint32_t offset, std::uint32_t length);

  void needs_reset() override;
  void signal(std::uint16_t vector, std::uint8_t isr_bit);

  void on_config_written(std::size_t offset, std::size_t size) override;
  void on_config_read(std::size_t offset, std::size_t size) override;
  void on_bar_moved(unsigned bar) override;
  bool config_window(std::uint64_t& offset, std::size_t& size);

  // All with mutex_ held.
  void settle_reset();
  void read_common(std::uint64_t offset, std::span<std::byte> data);
  void write_common(std::uint64_t offset, std::span<const std::byte> data);
  void write_register32(std::uint64_t offset, std::uint32_t value);
  void write_register16(std::uint64_t offset, std::uint16_t value);
  void write_status(std::uint8_t value);
  void activate();
  void start_reset();
  void clear();
  void bind_kicks();
  void unbind_kicks();
  QueueState* selected_queue();
  QueueState* configurable_queue();

  void kick(std::uint64_t offset);

  virtio::Device& device_;
  KickRegistrar* const kicks_;
  const std::unique_ptr<pci::Msix> msix_;
  std::size_t msix_capability_ = 0;  // offsets in the configuration space
  std::size_t window_capability_ = 0;

  // Read and written on the device's thread too.
  std::atomic<std::uint8_t> isr_ = 0;
  std::atomic<std::uint16_t> config_vector_ = kNoVector;
  std::atomic<std::uint8_t> config_generation_ = 0;
  std::atomic<bool> needs_reset_ = false;
  std::atomic<bool> reset_done_ = false;
  std::vector<std::unique_ptr<QueueState>> queues_;  // the vector itself never changes

  std::mutex mutex_;  // guards what follows, and what of QueueState is not atomic
  std::uint8_t status_ = 0;
  bool resetting_ = false;
  bool activated_ = false;
  std::uint32_t device_feature_select_ = 0;
  std::uint32_t driver_feature_select_ = 0;
  std::uint64_t driver_features_ = 0;
  std::uint16_t queue_select_ = 0;
  std::uint64_t bound_base_ = 0;  // the BAR's address that kicks are bound at; 0: none are
};

}  // namespace vmm::virtio
