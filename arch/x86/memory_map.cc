// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/memory_map.h"

#include <algorithm>
#include <cassert>

#include "arch/x86/layout.h"

namespace vmm::x86 {

std::vector<GuestMemory::Range> ram_ranges(std::uint64_t bytes) {
  assert(bytes >= kMinRam);
  bytes &= ~std::uint64_t{0xfff};
  std::uint64_t low = std::min(bytes, layout::kMmioHole);
  std::vector<GuestMemory::Range> ranges = {{GuestAddress(0), low}};
  if (bytes > low) ranges.push_back({GuestAddress(layout::kRamAboveHole), bytes - low});
  return ranges;
}

std::vector<MemoryMapEntry> memory_map(const GuestMemory& memory) {
  using enum MemoryType;
  std::vector<MemoryMapEntry> map = {
      {0, layout::kLowMemoryEnd, kRam},
      {layout::kLowMemoryEnd, layout::kAcpiTables - layout::kLowMemoryEnd, kReserved},
      {layout::kAcpiTables, layout::kAcpiTablesSize, kAcpi},
  };
  for (const GuestMemory::Region& region : memory.regions()) {
    std::uint64_t start = std::max(region.start.value, layout::kHighMemoryStart);
    map.push_back({start, region.start.value + region.size - start, kRam});
    if (region.start.value != 0) continue;
    // Linux uses the ECAM only where the memory map says that nothing else is there.
    map.push_back({layout::kPciEcam, layout::kPciEcamSize, kReserved});
  }
  return map;
}

}  // namespace vmm::x86
