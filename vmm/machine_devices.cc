// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine_devices.h"

#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/transport_base.h"
#include "vmm/confine_io.h"
#include "vmm/io/io_thread.h"
#include "vmm/virtio_slots.h"

namespace vmm {

Result<std::unique_ptr<MachineDevices>> MachineDevices::create(
    const MachineConfig& config, const Board& board, legacy::ConsoleSink& console,
    std::unique_ptr<virtio::NetBackend> net) {
  std::unique_ptr<MachineDevices> self(new MachineDevices);
  if (config.rng || config.balloon) {
    VMM_TRY(self->thread_, IoThread::start("vmm-devices"));
  }
  if (config.rng) {
    self->rng_ = std::make_unique<virtio::Rng>(self->thread_->loop(), board.memory);
    VMM_CHECK(self->attach(*self->rng_, board));
  }
  if (config.balloon) {
    self->balloon_ = std::make_unique<virtio::Balloon>(self->thread_->loop(), board.memory);
    VMM_CHECK(self->attach(*self->balloon_, board));
  }
  if (config.console == MachineConfig::Console::kVirtio) {
    VMM_TRY(self->console_thread_, IoThread::start("vmm-console"));
    self->console_ =
        std::make_unique<virtio::Console>(console, self->console_thread_->loop(), board.memory);
    VMM_CHECK(self->attach(*self->console_, board));
  }
  if (net) {
    VMM_TRY(self->net_thread_, IoThread::start("vmm-net"));
    VMM_TRY(self->net_, virtio::Net::create(std::move(net), config.net.mac,
                                            self->net_thread_->loop(), board.memory));
    VMM_CHECK(self->attach(*self->net_, board));
  }
  return self;
}

MachineDevices::MachineDevices() = default;

MachineDevices::~MachineDevices() {
  // A transport stops its device, which needs the device's loop.
  transports_.clear();
}

Result<void> MachineDevices::confine(const sandbox::SandboxConfig& config) {
  for (IoThread* thread : {thread_.get(), console_thread_.get(), net_thread_.get()}) {
    if (thread == nullptr) continue;
    VMM_CHECK(confine_io(*thread, config));
  }
  return {};
}

void MachineDevices::stop() {
  for (const std::unique_ptr<virtio::TransportBase>& transport : transports_) transport->stop();
}

Result<void> MachineDevices::attach(virtio::Device& device, const Board& board) {
  VMM_TRY(std::unique_ptr<virtio::TransportBase> transport, board.slots.attach(device));
  transports_.push_back(std::move(transport));
  return {};
}

}  // namespace vmm
