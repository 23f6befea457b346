// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/memory_map.h"

#include "arch/x86/layout.h"
#include "arch/x86/page_tables.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::x86;

namespace {

std::uint64_t ram_in(const std::vector<MemoryMapEntry>& map) {
  std::uint64_t total = 0;
  for (const MemoryMapEntry& entry : map) {
    if (entry.type == MemoryType::kRam) total += entry.size;
  }
  return total;
}

}  // namespace

TEST_CASE("memory_map: RAM goes around the MMIO hole", "[memory]") {
  auto ranges = ram_ranges(6 * layout::kGiB);
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0].size == 3 * layout::kGiB);
  CHECK(ranges[1].start.value == 4 * layout::kGiB);
  CHECK(ranges[1].size == 3 * layout::kGiB);
  CHECK(ram_ranges(3 * layout::kGiB).size() == 1);
  CHECK(ram_ranges((2 << 20) + 4095)[0].size == 2 << 20);
}

TEST_CASE("memory_map: ascending, without overlaps, and all RAM but the BIOS's is there",
          "[memory]") {
  for (std::uint64_t size : {2 * layout::kMiB, 512 * layout::kMiB, 5 * layout::kGiB}) {
    GuestMemory memory = *GuestMemory::create(ram_ranges(size));
    auto map = memory_map(memory);
    for (std::size_t i = 1; i < map.size(); ++i) {
      CHECK(map[i - 1].start + map[i - 1].size <= map[i].start);
    }
    CHECK(ram_in(map) == size - (layout::kMiB - layout::kLowMemoryEnd));
  }
}

TEST_CASE("page_tables: the first 4 GiB are mapped to themselves", "[memory]") {
  GuestMemory memory = *GuestMemory::create(ram_ranges(2 << 20));
  REQUIRE(write_identity_page_tables(memory));
  for (std::uint64_t address : {0x0ull, 0x1234567ull, 0xfee00030ull, 0xffffffffull}) {
    std::uint64_t table = layout::kPageTables;
    for (unsigned shift : {39u, 30u, 21u}) {
      std::uint64_t index = address >> shift & 0x1ff;
      std::uint64_t entry = *memory.read_object<std::uint64_t>(GuestAddress(table + index * 8));
      REQUIRE((entry & 3) == 3);
      table = entry & ~std::uint64_t{0xfff};
      if (shift == 21) CHECK((entry & ~std::uint64_t{0x1fffff}) == (address & ~0x1fffffull));
      if (shift == 21) CHECK((entry & 0x80) != 0);
    }
  }
}
