// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/page_tables.h"

#include <array>

#include "arch/x86/layout.h"

namespace vmm::x86 {
namespace {

// Intel SDM volume 3, 4.5: bits of a paging-structure entry.
constexpr std::uint64_t kPresentWritable = 0x3;
constexpr std::uint64_t kLargePage = 1 << 7;

constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kNrDirectories = 4;  // 1 GiB each

using Table = std::array<std::uint64_t, 512>;

}  // namespace

Result<void> write_identity_page_tables(const GuestMemory& memory) {
  constexpr GuestAddress kPml4(layout::kPageTables);
  constexpr GuestAddress kPdpt = kPml4 + kPageSize;
  constexpr GuestAddress kDirectories = kPdpt + kPageSize;

  Table table{};
  table[0] = kPdpt.value | kPresentWritable;
  VMM_CHECK(memory.write_object(kPml4, table));

  table = {};
  for (std::uint64_t i = 0; i < kNrDirectories; ++i) {
    table[i] = (kDirectories.value + i * kPageSize) | kPresentWritable;
  }
  VMM_CHECK(memory.write_object(kPdpt, table));

  std::uint64_t address = 0;
  for (std::uint64_t i = 0; i < kNrDirectories; ++i) {
    for (std::uint64_t& entry : table) {
      entry = address | kPresentWritable | kLargePage;
      address += 2 * layout::kMiB;
    }
    VMM_CHECK(memory.write_object(kDirectories + i * kPageSize, table));
  }
  return {};
}

}  // namespace vmm::x86
