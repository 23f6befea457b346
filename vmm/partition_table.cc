// SPDX-License-Identifier: Apache-2.0
#include "vmm/partition_table.h"

#include <cstring>

#include "vmm/core/byte_order.h"

namespace vmm {
namespace {

constexpr std::size_t kMbrEntries = 446;
constexpr std::size_t kMbrEntrySize = 16;
constexpr std::size_t kMbrSignature = 510;
constexpr std::size_t kGptHeader = 512;

// An entry is either unused (type 0), or has a plausible boot flag and a size. A file system's boot
// sector has the MBR's signature too, but code or text in this place.
enum class Entry { kUnused, kPartition, kNonsense };
Entry judge(const std::byte* entry) {
  std::uint8_t boot_flag = std::to_integer<std::uint8_t>(entry[0]);
  std::uint8_t type = std::to_integer<std::uint8_t>(entry[4]);
  if (boot_flag != 0 && boot_flag != 0x80) return Entry::kNonsense;
  if (type == 0) return Entry::kUnused;
  std::uint32_t first_sector = load_le<std::uint32_t>(entry + 8);
  std::uint32_t nr_sectors = load_le<std::uint32_t>(entry + 12);
  return first_sector > 0 && nr_sectors > 0 ? Entry::kPartition : Entry::kNonsense;
}

}  // namespace

bool has_partition_table(std::span<const std::byte> start) {
  if (start.size() >= kGptHeader + 8 && std::memcmp(&start[kGptHeader], "EFI PART", 8) == 0) {
    return true;
  }
  if (start.size() < 512 || load_le<std::uint16_t>(&start[kMbrSignature]) != 0xaa55) return false;
  bool any = false;
  for (std::size_t i = 0; i < 4; ++i) {
    Entry entry = judge(&start[kMbrEntries + i * kMbrEntrySize]);
    if (entry == Entry::kNonsense) return false;
    any |= entry == Entry::kPartition;
  }
  return any;
}

}  // namespace vmm
