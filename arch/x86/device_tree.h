// SPDX-License-Identifier: Apache-2.0
// The flattened device tree (Devicetree Specification 0.4): the processors, memory, the IOAPIC and
// virtio-mmio, for kernels with CONFIG_OF and others that read one instead of ACPI's tables.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arch/x86/memory_map.h"
#include "arch/x86/virtio_mmio.h"
#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

struct DeviceTreeConfig {
  std::uint32_t nr_cpus = 1;                   // APIC ids 0 ... nr_cpus - 1
  std::span<const MemoryMapEntry> memory_map;  // its RAM
  std::span<const VirtioMmio> virtio_mmio;
};

// Without the command line, which boot_params have.
Result<std::vector<std::byte>> make_device_tree(const DeviceTreeConfig& config);

// Puts it at layout::kDeviceTree, as setup_data for Linux's boot_params (SETUP_DTB,
// Documentation/arch/x86/boot.rst); returns the guest-physical address of that.
Result<std::uint64_t> write_device_tree(const GuestMemory& memory, std::span<const std::byte> tree);

}  // namespace vmm::x86
