// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/mp_table.h"

#include <map>
#include <numeric>
#include <string>

#include "arch/x86/layout.h"
#include "arch/x86/memory_map.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::x86;

namespace {

std::uint8_t sum(std::span<const std::byte> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::uint8_t{0}, [](auto total, auto byte) {
    return static_cast<std::uint8_t>(total + std::to_integer<std::uint8_t>(byte));
  });
}

unsigned byte_at(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]);
}

// Read as Linux and the specification's example code do: by types and their sizes.
TEST_CASE("MP tables: kernels find the processors, the IOAPIC and its lines", "[mp]") {
  const std::uint32_t nr_cpus = GENERATE(1u, 3u, 64u, 254u);
  GuestMemory memory = *GuestMemory::create(ram_ranges(2 << 20));
  REQUIRE(write_mp_tables(memory, nr_cpus));

  static_assert(layout::kMpTables >= 0xf0000 && layout::kMpTables % 16 == 0);
  auto pointer = *memory.slice(GuestAddress(layout::kMpTables), 16);
  CHECK(load_le<std::uint32_t>(&pointer[0]) == 0x5f504d5f);  // "_MP_"
  CHECK(sum(pointer) == 0);
  CHECK(byte_at(pointer, 9) == 4);
  std::uint64_t at = load_le<std::uint32_t>(&pointer[4]);
  auto header = *memory.slice(GuestAddress(at), 44);
  CHECK(load_le<std::uint32_t>(&header[0]) == 0x504d4350);  // "PCMP"
  const std::uint16_t length = load_le<std::uint16_t>(&header[4]);
  REQUIRE(at + length <= layout::kAcpiTables + layout::kAcpiTablesSize);
  auto table = *memory.slice(GuestAddress(at), length);
  CHECK(sum(table) == 0);
  CHECK(load_le<std::uint32_t>(&table[36]) == 0xfee00000);

  std::map<unsigned, unsigned> nr_of_type;
  unsigned nr_boot = 0, ioapic = 0;
  std::size_t offset = 44;
  while (offset < length) {
    const unsigned type = byte_at(table, offset);
    REQUIRE(type <= 4);
    if (type == 0) {
      CHECK(byte_at(table, offset + 1) == nr_of_type[0]);
      nr_boot += byte_at(table, offset + 3) >> 1;
      CHECK((byte_at(table, offset + 3) & 1) == 1);
    } else if (type == 2) {
      ioapic = byte_at(table, offset + 1);
      CHECK(load_le<std::uint32_t>(&table[offset + 4]) == 0xfec00000);
    } else if (type == 3) {
      CHECK(byte_at(table, offset + 5) == nr_of_type[3]);
      CHECK(byte_at(table, offset + 6) == ioapic);
      CHECK(byte_at(table, offset + 7) == nr_of_type[3]);
    }
    ++nr_of_type[type];
    offset += type == 0 ? 20 : 8;
  }
  CHECK(offset == length);
  CHECK(nr_boot == 1);
  CHECK(ioapic >= nr_cpus);
  CHECK(nr_of_type == std::map<unsigned, unsigned>{{0, nr_cpus}, {1, 2}, {2, 1}, {3, 16}, {4, 2}});
  CHECK(load_le<std::uint16_t>(&table[34]) == nr_cpus + 21);
}

}  // namespace
