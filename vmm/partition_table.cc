// SPDX-License-Identifier: Apache-2.0
#include "vmm/partition_table.h"

#include <algorithm>
#include <cstring>

#include "vmm/core/byte_order.h"

namespace vmm {
namespace {

constexpr std::size_t kMbrEntries = 446;
constexpr std::size_t kMbrEntrySize = 16;
constexpr std::size_t kMbrSignature = 510;
constexpr std::size_t kGptHeader = 512;
// UEFI 2.10, 5.3.2 and 5.3.3: of the header, and of an entry.
constexpr std::size_t kGptEntriesSector = 72, kGptNrEntries = 80, kGptEntrySize = 84;
constexpr std::size_t kGptEntries = 1024, kGptUsualSize = 128;

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

bool is_gpt(std::span<const std::byte> start) {
  return start.size() >= kGptHeader + 8 && std::memcmp(&start[kGptHeader], "EFI PART", 8) == 0;
}

// An entry is in use where its type is not all zeros.
std::vector<unsigned> gpt_numbers(std::span<const std::byte> start) {
  if (start.size() < kGptEntries) return {};
  const std::byte* header = &start[kGptHeader];
  const auto nr_entries = load_le<std::uint32_t>(header + kGptNrEntries);
  const std::size_t nr_seen = (start.size() - kGptEntries) / kGptUsualSize;
  if (load_le<std::uint64_t>(header + kGptEntriesSector) != 2 ||
      load_le<std::uint32_t>(header + kGptEntrySize) != kGptUsualSize || nr_entries > nr_seen) {
    return {};
  }
  std::vector<unsigned> numbers;
  for (unsigned i = 0; i < nr_entries; ++i) {
    const std::byte* type = &start[kGptEntries + i * kGptUsualSize];
    if (load_le<std::uint64_t>(type) != 0 || load_le<std::uint64_t>(type + 8) != 0) {
      numbers.push_back(i + 1);
    }
  }
  return numbers;
}

bool is_extended(const std::byte* entry) {
  const auto type = std::to_integer<std::uint8_t>(entry[4]);
  return type == 0x05 || type == 0x0f || type == 0x85;
}

}  // namespace

std::vector<unsigned> partition_numbers(std::span<const std::byte> start) {
  start = start.first(std::min(start.size(), kPartitionTableBytes));
  if (is_gpt(start)) return gpt_numbers(start);
  if (!has_partition_table(start)) return {};
  std::vector<unsigned> numbers;
  for (unsigned i = 0; i < 4; ++i) {
    const std::byte* entry = &start[kMbrEntries + i * kMbrEntrySize];
    if (is_extended(entry)) return {};
    if (judge(entry) == Entry::kPartition) numbers.push_back(i + 1);
  }
  return numbers;
}

bool has_partition_table(std::span<const std::byte> start) {
  if (is_gpt(start)) return true;
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
