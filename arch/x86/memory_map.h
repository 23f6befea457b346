// SPDX-License-Identifier: Apache-2.0
// Which guest-physical ranges are RAM, for the Vm and for the guest.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

// Values are those of e820 and of PVH's memory map.
enum class MemoryType : std::uint32_t { kRam = 1, kReserved = 2, kAcpi = 3 };

struct MemoryMapEntry {
  std::uint64_t start;  // bytes
  std::uint64_t size;   // bytes, not 0
  MemoryType type;
};

// Where `bytes` of RAM go: below the MMIO hole, and the rest above it. `bytes` is rounded down to
// whole pages and must be at least kMinRam.
inline constexpr std::uint64_t kMinRam = 2 << 20;
std::vector<GuestMemory::Range> ram_ranges(std::uint64_t bytes);

// What the guest is told of that memory, ascending.
std::vector<MemoryMapEntry> memory_map(const GuestMemory& memory);

}  // namespace vmm::x86
