// SPDX-License-Identifier: Apache-2.0
#include "vmm/machine_devices.h"

#include <fmt/core.h>

#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "devices/virtio/fs.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/transport_base.h"
#include "devices/virtio/vhost_vsock.h"
#include "devices/virtio/vsock.h"
#include "vmm/backends.h"
#include "vmm/confine_io.h"
#include "vmm/io/io_thread.h"
#include "vmm/virtio_slots.h"

namespace vmm {

struct MachineDevices::Share {
  std::unique_ptr<IoThread> thread;
  std::unique_ptr<virtio::Fs> fs;
  UniqueFd messages;  // open, or the back-end would end at its next one
};

Result<std::unique_ptr<MachineDevices>> MachineDevices::create(const MachineConfig& config,
                                                               const Board& board,
                                                               legacy::ConsoleSink& console,
                                                               Backends backends) {
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
  if (backends.net) {
    VMM_TRY(self->net_thread_, IoThread::start("vmm-net"));
    VMM_TRY(self->net_, virtio::Net::create(std::move(backends.net), config.net.mac,
                                            self->net_thread_->loop(), board.memory));
    VMM_CHECK(self->attach(*self->net_, board));
  }
  if (backends.vsock) {
    VMM_TRY(self->vsock_thread_, IoThread::start("vmm-vsock"));
    VMM_TRY(self->vsock_, virtio::Vsock::create(config.vsock.cid, *std::move(backends.vsock),
                                                self->vsock_thread_->loop(), board.memory));
    VMM_CHECK(self->attach(*self->vsock_, board));
  }
  if (backends.vhost_vsock) {
    VMM_CHECK(self->add_vhost_vsock(std::move(backends.vhost_vsock), config.vsock.cid, board));
  }
  for (std::size_t i = 0; i < backends.shares.size(); ++i) {
    VMM_CHECK(self->add_share(config.shares[i], std::move(backends.shares[i]), board));
  }
  return self;
}

Result<void> MachineDevices::add_vhost_vsock(UniqueFd device, std::uint64_t cid,
                                             const Board& board) {
  VMM_TRY(vhost_thread_, IoThread::start("vmm-vhost"));
  Result<std::unique_ptr<virtio::VhostVsock>> vsock =
      virtio::VhostVsock::create(std::move(device), cid, vhost_thread_->loop(), board.memory);
  if (!vsock) return Unexpected(std::move(vsock).error().with_context("--vsock"));
  vhost_vsock_ = *std::move(vsock);
  return attach(*vhost_vsock_, board);
}

Result<void> MachineDevices::add_share(const MachineConfig::Share& share, ShareBackend backend,
                                       const Board& board) {
  shares_.push_back(std::make_unique<Share>());
  Share& added = *shares_.back();
  VMM_TRY(added.thread, IoThread::start(fmt::format("vmm-share{}", shares_.size() - 1)));
  Result<std::unique_ptr<virtio::Fs>> fs =
      virtio::Fs::create(std::move(backend.socket), share.tag, added.thread->loop(), board.memory);
  if (!fs) {
    const std::string words = last_words(backend);
    return fail(fs.error().kind(),
                fmt::format("--share {}: {}{}{}", share.directory, fs.error().message(),
                            words.empty() ? "" : "; virtiofsd: ", words));
  }
  added.messages = std::move(backend.messages);
  added.fs = *std::move(fs);
  return attach(*added.fs, board);
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
  if (vsock_thread_) {
    VMM_CHECK(confine_io_as(*vsock_thread_, config, sandbox::ThreadKind::kVsock));
  }
  if (vhost_thread_) {
    VMM_CHECK(confine_io_as(*vhost_thread_, config, sandbox::ThreadKind::kVhost));
  }
  for (const std::unique_ptr<Share>& share : shares_) {
    VMM_CHECK(confine_io_as(*share->thread, config, sandbox::ThreadKind::kVhostUser));
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
