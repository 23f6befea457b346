// SPDX-License-Identifier: Apache-2.0
// VsockChannel: how a virtio socket device reaches the host's sockets. The device may name no file
// and make no socket: somebody at the other end of a socket of packets (SOCK_SEQPACKET) does both
// for it (vmm/vsock_connector.h), and hands it connected ones.
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

// From the device: connect to the program that listens for this port of the host's.
struct VsockDial {
  std::uint64_t token = 0;  // not 0; comes back in the answer
  std::uint32_t port = 0;
  std::uint32_t unused = 0;
};

// To the device, with a connected, non-blocking stream socket (SCM_RIGHTS) where error is 0.
struct VsockAnswer {
  std::uint64_t token = 0;  // 0: a program has connected to the guest's socket
  std::int32_t error = 0;   // an errno
  std::uint32_t unused = 0;
};

class VsockChannel {
 public:
  // One end of a socketpair(), non-blocking.
  explicit VsockChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  int descriptor() const { return socket_.get(); }

  struct Incoming {
    VsockAnswer answer;
    UniqueFd stream;
  };
  // Gives 0, or a negative errno: -EAGAIN: nothing is there; -EPIPE: the other end is gone.
  int receive(Incoming& incoming);
  int send(const VsockDial& dial);

  // For the other end.
  static int answer(int socket, const VsockAnswer& answer, int stream);

 private:
  UniqueFd socket_;
};

}  // namespace vmm::virtio
