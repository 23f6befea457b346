// SPDX-License-Identifier: Apache-2.0
// What a machine's guest is handed at its start: the kernel with its command line and initrd, and
// the tables that describe the machine.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "arch/x86/initrd.h"
#include "arch/x86/kernel.h"
#include "arch/x86/virtio_mmio.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"

namespace vmm {

class MachineDisk;
struct MachineConfig;

using Disks = std::span<const std::unique_ptr<MachineDisk>>;

struct LoadedGuest {
  x86::LoadedKernel kernel;
  x86::LoadedInitrd initrd;
};

// Puts kernel, initrd and command line into `memory`. Reads the partition tables of `disks` where
// root= depends on them, and warns where it names none of them. Before the disks are attached.
Result<LoadedGuest> load_guest(const MachineConfig& config, const GuestMemory& memory, Disks disks);

// Writes what the kernel finds the machine by, ACPI's tables or the device tree, and what its boot
// protocol asks for. When every device has its place, `virtio_mmio` those of that transport.
Result<void> describe_machine(const MachineConfig& config, const GuestMemory& memory,
                              std::span<const x86::VirtioMmio> virtio_mmio,
                              const LoadedGuest& guest);

// The flattened device tree of the machine, whether its guest is given it or not.
Result<std::vector<std::byte>> device_tree_of(const MachineConfig& config,
                                              const GuestMemory& memory,
                                              std::span<const x86::VirtioMmio> virtio_mmio);

}  // namespace vmm
