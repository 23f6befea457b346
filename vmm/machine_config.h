// SPDX-License-Identifier: Apache-2.0
// What a machine is made of, as plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "disk/open_disk.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm {

struct MachineConfig {
  static constexpr std::uint32_t kMaxCpus = 64;
  static constexpr std::size_t kMaxDisks = 26;  // vda to vdz; PCI slots allow 31

  std::string name;
  std::string kernel;  // path
  std::string initrd;  // path; empty: none
  std::string params;  // the kernel command line as the user gave it
  std::uint64_t memory_bytes = std::uint64_t{512} << 20;
  bool huge_pages = false;  // only of the host's reserved ones (GuestMemory::Pages)
  // GuestMemory::Backing.
  bool memory_shared = false;
  std::string memory_file;
  std::uint32_t nr_cpus = 1;
  std::vector<std::string> hidden_cpu_flags;  // arch/x86/cpu_flags.h
  std::vector<unsigned> pinned_to;            // processor of the host for each vCPU; empty: any
  std::vector<disk::DiskOptions> disks;
  // The last disk, which is no root device: cloud-init's (cloud_init.h).
  std::optional<disk::DiskOptions> seed;
  enum class Console {
    kSerial,  // ttyS0
    kVirtio,  // hvc0; what the guest sends to its serial port is shown too
  };
  Console console = Console::kSerial;
  bool rng = true;          // virtio-rng
  std::size_t nr_bays = 0;  // places for disks that come while it runs; at most kMaxBays
  static constexpr std::size_t kMaxBays = 8;
  bool balloon = false;  // virtio-balloon; not with huge_pages
  struct Net {
    enum class Kind {
      kNone,
      kUser,  // passt
      kTap,
    };
    Kind kind = Kind::kNone;
    std::string tap;     // its name; empty: the host chooses
    std::string socket;  // of kUser: where a passt listens; empty: one is started
    // Of kUser: ports of the host that lead to the guest, as passt's --tcp-ports and --udp-ports
    // have them, with the host's address in front.
    std::vector<std::string> tcp, udp;
    std::array<std::uint8_t, 6> mac{};
  };
  Net net;  // virtio-net
  // A directory of the host's (virtio-fs); sharing it takes memory_shared.
  struct Share {
    std::string directory;
    std::string tag;  // what the guest mounts; 1 to 36 bytes
  };
  static constexpr std::size_t kMaxShares = 8;
  std::vector<Share> shares;
  struct Vsock {
    bool vhost = false;     // the host's kernel serves it; otherwise we do, at `path`
    std::string path;       // of the socket for the host's programs; empty: no device of ours
    std::uint64_t cid = 3;  // the guest's
    int listen_fd = -1;     // listening at `path`; stays the same when the guest boots again
  };
  Vsock vsock;  // virtio-vsock
  // Without: MP tables, and a device tree for those kernels that can be handed one.
  bool acpi = true;
  enum class VirtioTransport { kPci, kMmio };
  VirtioTransport virtio_transport = VirtioTransport::kPci;
  // Port by which the guest may end the run with an exit status of its own.
  std::optional<std::uint16_t> debug_exit_port;
  // What the user does to have writes carried out again that failed and wait.
  std::string retry_hint;
  sandbox::SandboxConfig sandbox;
};

}  // namespace vmm
