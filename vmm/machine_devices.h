// SPDX-License-Identifier: Apache-2.0
// MachineDevices: the virtio devices of a machine other than its disks, and the threads they run
// on.
#pragma once

#include <memory>
#include <vector>

#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"
#include "vmm/machine_config.h"

namespace vmm {

struct Backends;
struct ShareBackend;
class IoThread;
class VirtioSlots;

namespace legacy {
class ConsoleSink;
}
namespace virtio {
class Balloon;
class Console;
class Device;
class Fs;
class Net;
class Rng;
class TransportBase;
class VhostVsock;
class Vsock;
}  // namespace virtio

class MachineDevices {
 public:
  // What the devices are put on. All must outlive them.
  struct Board {
    const GuestMemory& memory;
    VirtioSlots& slots;
  };

  // Makes those that `config` asks for and puts them on the bus; those of `backends` where these
  // are there. `console` gets what the guest sends to a virtio console.
  static Result<std::unique_ptr<MachineDevices>> create(const MachineConfig& config,
                                                        const Board& board,
                                                        legacy::ConsoleSink& console,
                                                        Backends backends);
  ~MachineDevices();

  // Before any guest code runs: the devices' threads give up what they need no more.
  Result<void> confine(const sandbox::SandboxConfig& config);

  // When no vCPU runs any more: comes back when nothing touches the guest's memory.
  void stop();

  // nullptr where the machine has none.
  virtio::Console* console() { return console_.get(); }
  virtio::Balloon* balloon() { return balloon_.get(); }
  virtio::Vsock* vsock() { return vsock_.get(); }

 private:
  MachineDevices();
  Result<void> attach(virtio::Device& device, const Board& board);
  Result<void> add_vhost_vsock(UniqueFd device, std::uint64_t cid, const Board& board);
  Result<void> add_share(const MachineConfig::Share& share, ShareBackend backend,
                         const Board& board);

  std::unique_ptr<IoThread> thread_;
  // A terminal that nobody reads holds up the console, and nothing else.
  std::unique_ptr<IoThread> console_thread_;
  std::unique_ptr<IoThread> net_thread_;
  std::unique_ptr<virtio::Rng> rng_;
  std::unique_ptr<virtio::Balloon> balloon_;
  std::unique_ptr<virtio::Console> console_;
  std::unique_ptr<virtio::Net> net_;
  std::unique_ptr<IoThread> vsock_thread_;
  std::unique_ptr<virtio::Vsock> vsock_;
  std::unique_ptr<IoThread> vhost_thread_;
  std::unique_ptr<virtio::VhostVsock> vhost_vsock_;
  // Each waits for its back-end, and nobody else shall.
  struct Share;
  std::vector<std::unique_ptr<Share>> shares_;
  std::vector<std::unique_ptr<virtio::TransportBase>> transports_;
};

}  // namespace vmm
