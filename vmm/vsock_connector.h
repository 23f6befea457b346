// SPDX-License-Identifier: Apache-2.0
// The process that makes and takes the host's connections for a machine's virtio socket device:
// the machine itself may do neither, nor see the files (its sandbox).
#pragma once

#include <string>

#include "devices/virtio/vsock_channel.h"
#include "vmm/core/result.h"
#include "vmm/core/socket_file.h"
#include "vmm/machine_config.h"

namespace vmm {

// The file of a program that serves `port` of the host's: PATH_PORT.
std::string vsock_port_path(const std::string& path, std::uint32_t port);

// Whether open_vsock() would succeed, as far as one can see without effects.
Result<void> check_vsock(const MachineConfig::Vsock& vsock);

// The socket for the host's programs: before the first boot of a machine. Errors name the flag.
Result<SocketFile> open_vsock(const MachineConfig::Vsock& vsock);

// Forks it; it ends when the channel is closed. `listen_fd`: whose connections are for the guest;
// it must be non-blocking. The process can do two things: accept there, and connect to one of the
// files above, whose port is all that it is told. While this process has one thread.
Result<virtio::VsockChannel> start_vsock_connector(int listen_fd, const std::string& path);

}  // namespace vmm
