// SPDX-License-Identifier: Apache-2.0
// MmioTransport: a virtio device as a window of registers in memory and one interrupt line
// (virtio 1.2, 4.2), in version 2; there is no legacy interface.
//
// How a machine uses it:
//   auto transport = MmioTransport::create(device, line, kicks, address);
//   bus.insert(address, MmioTransport::kSize, **transport);
//   ... vCPUs run ...
//   transport->stop();             // when no vCPU runs any more, while the I/O thread still does
// It needs one interrupt line, an edge, that no other device uses, and one eventfd per queue.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "devices/virtio/transport_base.h"
#include "vmm/core/bus.h"
#include "vmm/core/interrupt.h"

namespace vmm::virtio {

class MmioTransport final : public BusDevice, public TransportBase {
 public:
  static constexpr std::uint64_t kSize = 0x1000;  // bytes; the configuration space fills the rest
  // Linux writes 0 to the status and asks nothing before it uses the memory for something else: so
  // the store that resets waits this long for what is in flight.
  static constexpr std::chrono::milliseconds kResetPatience{10000};

  // `kicks` may be null: every notification then leaves the guest, and still works. All but the
  // device may be used from the first vCPU's first instruction on, and must outlive the transport.
  static Result<std::unique_ptr<MmioTransport>> create(
      virtio::Device& device, Interrupt& line, KickRegistrar* kicks, GuestAddress address,
      std::chrono::milliseconds reset_patience = kResetPatience);
  ~MmioTransport() override;

  // BusDevice
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  class QueueInterrupt final : public Interrupt {
   public:
    explicit QueueInterrupt(MmioTransport& transport) : transport_(transport) {}
    void signal() override;

   private:
    MmioTransport& transport_;
  };

  MmioTransport(virtio::Device& device, Interrupt& line, KickRegistrar* kicks, GuestAddress address,
                std::chrono::milliseconds reset_patience);

  // TransportBase
  Interrupt& queue_interrupt(std::uint16_t index) override;
  void signal_config() override;
  Result<void> bind_kick(std::uint16_t index, int event_fd) override;
  Result<void> unbind_kick(std::uint16_t index, int event_fd) override;

  // With registers_mutex_ held.
  std::uint32_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint32_t value);
  void write_status_register(std::uint32_t value);
  void write_queue_ready(std::uint32_t value);
  void write_queue_address(std::uint64_t offset, std::uint32_t value);

  Interrupt& line_;
  QueueInterrupt queue_interrupt_{*this};
  const GuestAddress notify_;
  const std::chrono::milliseconds reset_patience_;
};

}  // namespace vmm::virtio
