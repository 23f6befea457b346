// SPDX-License-Identifier: Apache-2.0
// What Vsock (vsock.h) keeps of a connection, and of a program that asks for one.
#pragma once

#include <string>
#include <vector>

#include "devices/virtio/vsock.h"

namespace vmm::virtio {

// A program of the host's that has not said yet what it wants.
struct Vsock::Greeting {
  Id id = 0;
  UniqueFd stream;
  std::string line;
};

struct Vsock::Peer {
  Id id = 0;
  Ports ports;
  VsockConnection connection;
  UniqueFd stream;  // none while it is dialed, or once it is hung up
  // Edge-triggered: set by events, cleared where the socket has nothing or takes nothing.
  bool readable = false, writable = false;
  bool hung_up = false;            // the program has closed its end altogether
  bool ended = false;              // the program was told that the guest sends no more
  bool ignored = false;            // the program was told that the guest takes no more
  bool scheduled = false;          // in ready_
  std::vector<std::byte> waiting;  // for the program; at most VsockConnection::kBuffer
};

}  // namespace vmm::virtio
