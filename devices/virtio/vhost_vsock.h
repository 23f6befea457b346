// SPDX-License-Identifier: Apache-2.0
// VhostVsock: a virtio socket device (virtio 1.2, 5.10) that the host's kernel serves: programs of
// the host reach the guest by AF_VSOCK and its CID, and the guest those that listen there. Only the
// queue of events stays empty: they tell of a migration, and there is none.
#pragma once

#include <memory>

#include "devices/virtio/calls.h"
#include "devices/virtio/device.h"
#include "devices/virtio/vhost.h"
#include "vmm/core/log.h"

namespace vmm::virtio {

class VhostVsock final : public Device {
 public:
  // `device`: /dev/vhost-vsock, opened. In the process that has `memory`. kBusy where another
  // machine has `guest_cid`.
  static Result<std::unique_ptr<VhostVsock>> create(UniqueFd device, std::uint64_t guest_cid,
                                                    EventLoop& loop, const GuestMemory& memory);

  DeviceType type() const override { return DeviceType::kVsock; }
  std::uint32_t pci_class() const override { return 0x078000; }  // communication, other
  std::uint64_t features() const override { return features_; }
  std::uint16_t nr_queues() const override { return 3; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 256; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override;
  void reset(std::function<void()> done) override;

 private:
  static constexpr std::uint16_t kNrServed = 2;  // receive and transmit: the kernel's

  VhostVsock(UniqueFd device, std::uint64_t guest_cid, EventLoop& loop, const GuestMemory& memory)
      : vhost_(std::move(device)),
        guest_cid_(guest_cid),
        loop_(loop),
        memory_(memory),
        calls_(loop) {}

  void start(const Activation& activation);
  Result<void> start_kernel(const Activation& activation);
  Result<void> run(bool running);
  internal::Detached stop(std::function<void()> done);

  Vhost vhost_;
  const std::uint64_t guest_cid_;
  std::uint64_t features_ = 0;
  EventLoop& loop_;
  const GuestMemory& memory_;
  Calls calls_;
  log::RateLimit warnings_;
};

}  // namespace vmm::virtio
