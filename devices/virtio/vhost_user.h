// SPDX-License-Identifier: Apache-2.0
// VhostUser: the front-end's side of vhost-user (QEMU: docs/interop/vhost-user.rst), by which
// another process, the back-end, serves a device's queues in the guest's memory itself.
//
// Every request waits for its answer, or for that it was understood, but not for ever. The
// back-end is not trusted: what it sends is read as far as this expects it and no further.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "devices/virtio/queue.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

class VhostUser {
 public:
  // Feature bit that says that there are protocol features; none of a device's.
  static constexpr std::uint64_t kProtocolFeatures = std::uint64_t{1} << 30;

  // `socket`: connected to the back-end, a Unix stream. `patience`: how long an answer may take.
  VhostUser(UniqueFd socket, std::chrono::milliseconds patience);

  int descriptor() const { return socket_.get(); }

  // Once, first: agrees on the protocol. Gives the device's features that the back-end has.
  Result<std::uint64_t> begin();

  // Before queues are started.
  Result<void> set_driver_features(std::uint64_t features);
  // `memory` must be shared (GuestMemory::shared_file()).
  Result<void> set_memory(const GuestMemory& memory);

  // The back-end reads `kick_fd` and counts on `call_fd`, both eventfds. `layout` is
  // guest-controlled: fails with kOutOfRange where it is not in guest memory.
  Result<void> start_queue(std::uint16_t index, const QueueLayout& layout,
                           const GuestMemory& memory, int kick_fd, int call_fd);
  // Afterwards the back-end does not touch the queue any more, nor buffers it had from it.
  Result<void> stop_queue(std::uint16_t index);

 private:
  // Values are the protocol's.
  enum class Request : std::uint32_t {
    kGetFeatures = 1,
    kSetFeatures = 2,
    kSetOwner = 3,
    kSetMemoryTable = 5,
    kSetVringSize = 8,
    kSetVringAddress = 9,
    kSetVringBase = 10,
    kGetVringBase = 11,
    kSetVringKick = 12,
    kSetVringCall = 13,
    kGetProtocolFeatures = 15,
    kSetProtocolFeatures = 16,
    kSetVringEnable = 18,
  };

  Result<void> send(Request request, std::span<const std::byte> payload, std::span<const int> fds,
                    bool wants_answer);
  // 8 bytes of payload: all answers that are asked for have them.
  Result<std::uint64_t> receive(Request request);
  Result<void> wait_for(short events);

  // Sends, and where the back-end can say so waits until it has done it.
  Result<void> set(Request request, std::span<const std::byte> payload,
                   std::span<const int> fds = {});
  Result<void> set_number(Request request, std::uint64_t number);
  Result<void> set_state(Request request, std::uint16_t queue, std::uint32_t value);
  Result<void> set_descriptor(Request request, std::uint16_t queue, int fd);
  Result<std::uint64_t> get(Request request, std::span<const std::byte> payload = {});

  const UniqueFd socket_;
  const std::chrono::milliseconds patience_;
  bool acknowledges_ = false;
};

}  // namespace vmm::virtio
