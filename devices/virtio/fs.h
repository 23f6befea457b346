// SPDX-License-Identifier: Apache-2.0
// Fs: a file system device (virtio 1.2, 5.11). A back-end in another process (virtiofsd), reached
// by vhost-user, serves the queues; this is what the guest sees of it: the registers behind which
// it starts and stops, and the interrupts.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <string>

#include "devices/virtio/calls.h"
#include "devices/virtio/device.h"
#include "devices/virtio/vhost_user.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/log.h"
#include "vmm/core/unique_fd.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/sync.h"

namespace vmm::virtio {

class Fs final : public Device {
 public:
  static constexpr std::size_t kMaxTag = 36;  // bytes; virtio 1.2, 5.11.4

  // How long the back-end may take to answer; stopping a queue it waits for its own file system.
  static constexpr std::chrono::milliseconds kPatience{10000};

  // Agrees with the back-end on the protocol. `tag` is what the guest mounts, not empty and at most
  // kMaxTag; the loop serves this device alone, since it waits for answers; `memory` is shared.
  static Result<std::unique_ptr<Fs>> create(UniqueFd backend, std::string tag, EventLoop& loop,
                                            const GuestMemory& memory,
                                            std::chrono::milliseconds patience = kPatience);
  ~Fs() override;

  DeviceType type() const override { return DeviceType::kFs; }
  std::uint32_t pci_class() const override { return 0x018000; }  // storage, other
  std::uint64_t features() const override { return 0; }
  std::uint16_t nr_queues() const override { return kNrQueues; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 128; }
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(Activation activation) override;
  void reset(std::function<void()> done) override;

 private:
  static constexpr std::size_t kNrQueues = 2;  // one for what cannot wait, one for requests

  Fs(UniqueFd backend, std::string tag, EventLoop& loop, const GuestMemory& memory,
     std::chrono::milliseconds patience);
  Result<void> open_descriptors();

  void start(const Activation& activation);
  Result<void> start_backend(const Activation& activation);
  internal::Detached stop(std::function<void()> done);
  Task<void> watch();
  void lose(const Error& why);

  VhostUser backend_;
  const std::string tag_;
  EventLoop& loop_;
  const GuestMemory& memory_;
  UniqueFd stop_fd_;   // an eventfd; counts while the device is being stopped
  UniqueFd watch_fd_;  // epoll: ready when the back-end's socket is, or stop_fd_

  // What follows is for the loop's thread.
  Calls calls_;
  std::array<bool, kNrQueues> started_{};
  Transport* transport_ = nullptr;
  bool stopping_ = false;
  bool lost_ = false;  // the back-end, for good
  Gate gate_;
};

}  // namespace vmm::virtio
