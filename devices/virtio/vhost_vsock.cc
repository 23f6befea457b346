// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vhost_vsock.h"

#include <fmt/core.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "devices/virtio/config_space.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/vhost_abi.h"

namespace vmm::virtio {

// VIRTIO_VSOCK_F_STREAM and F_SEQPACKET: the device's own bits; streams there are in any case.
constexpr std::uint64_t kOwnFeatures = 3;

Result<std::unique_ptr<VhostVsock>> VhostVsock::create(UniqueFd device, std::uint64_t guest_cid,
                                                       EventLoop& loop, const GuestMemory& memory) {
  std::unique_ptr<VhostVsock> self(new VhostVsock(std::move(device), guest_cid, loop, memory));
  VMM_CHECK(self->calls_.open(kNrServed));
  VMM_TRY(const std::uint64_t features, self->vhost_.begin());
  self->features_ = features & kOwnFeatures;
  if (::ioctl(self->vhost_.descriptor(), VHOST_VSOCK_SET_GUEST_CID, &guest_cid) != 0) {
    if (errno != EADDRINUSE) return fail_errno(errno, "VHOST_VSOCK_SET_GUEST_CID");
    return fail(ErrorKind::kBusy,
                fmt::format("CID {} is another machine's; give a free one by cid=N", guest_cid));
  }
  return self;
}

// virtio 1.2, 5.10.4: the guest's CID.
void VhostVsock::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const Le64 cid(guest_cid_);
  read_config_of(cid, offset, data);
}

void VhostVsock::activate(Activation activation) {
  loop_.post([this, activation = std::move(activation)] { start(activation); });
}

void VhostVsock::reset(std::function<void()> done) {
  loop_.post([this, done = std::move(done)] { stop(done); });
}

void VhostVsock::start(const Activation& activation) {
  Result<void> started = start_kernel(activation);
  if (started) return;
  warnings_.warn("--vsock: the guest's socket device cannot run: {}", started.error().message());
  activation.transport->needs_reset();
}

Result<void> VhostVsock::start_kernel(const Activation& activation) {
  VMM_CHECK(vhost_.set_driver_features(activation.features));
  VMM_CHECK(vhost_.set_memory(memory_));
  std::uint16_t nr_set = 0;
  for (const ActiveQueue& active : activation.queues) {
    if (active.index >= kNrServed) continue;
    VMM_CHECK(vhost_.set_queue(active.index, active.layout, memory_, active.kick_fd,
                               calls_.descriptor(active.index)));
    calls_.start(active.index, *active.interrupt);
    ++nr_set;
  }
  if (nr_set < kNrServed) {
    return fail(ErrorKind::kInvalid, "its driver has not set up both queues");  // guest-controlled
  }
  return run(true);
}

Result<void> VhostVsock::run(bool running) {
  const int value = running ? 1 : 0;
  if (::ioctl(vhost_.descriptor(), VHOST_VSOCK_SET_RUNNING, &value) == 0) return {};
  return fail_errno(errno, "VHOST_VSOCK_SET_RUNNING");
}

internal::Detached VhostVsock::stop(std::function<void()> done) {
  // The kernel's worker holds a queue's lock while it touches its rings, and this takes it; where
  // nothing ran it fails, or does nothing.
  static_cast<void>(run(false));
  for (unsigned i = 0; i < kNrServed; ++i) vhost_.forget_queue(i);
  co_await calls_.stop();
  done();  // from here on *this may be gone
}

}  // namespace vmm::virtio
