// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/partitions.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <span>

#include "vmm/bootfind/source.h"
#include "vmm/core/byte_order.h"

namespace vmm::bootfind {
namespace {

constexpr unsigned kMbrSector = 512;
constexpr std::size_t kMbrEntries = 446, kMbrEntrySize = 16, kMbrSignature = 510;
constexpr unsigned kMaxLogical = 128;
constexpr std::uint32_t kMaxGptEntries = 1024, kMaxGptEntrySize = 4096;
constexpr std::uint32_t kGptHeaderSize = 92;

std::uint32_t crc32(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
  for (std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320U : 0);
  }
  return ~crc;
}

// A GUID's first three fields are little endian (UEFI 2.10, appendix A).
std::string guid_text(const std::byte* raw) {
  auto byte = [&](int i) { return std::to_integer<unsigned>(raw[i]); };
  return fmt::format("{:08x}-{:04x}-{:04x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
                     load_le<std::uint32_t>(raw), load_le<std::uint16_t>(raw + 4),
                     load_le<std::uint16_t>(raw + 6), byte(8), byte(9), byte(10), byte(11),
                     byte(12), byte(13), byte(14), byte(15));
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

// The GPT whose header lies at block `lba`; nothing where there is none that is whole.
std::optional<std::vector<Partition>> read_gpt(Source& disk, std::uint64_t lba,
                                               std::uint32_t block) {
  std::vector<std::byte> header(block);
  if (lba > disk.size() / block || !disk.read(lba * block, header)) return std::nullopt;
  if (std::memcmp(header.data(), "EFI PART", 8) != 0) return std::nullopt;
  const auto header_size = load_le<std::uint32_t>(header.data() + 12);  // image-controlled
  if (header_size < kGptHeaderSize || header_size > block) return std::nullopt;
  const auto header_crc = load_le<std::uint32_t>(header.data() + 16);
  std::fill_n(header.begin() + 16, 4, std::byte{0});  // the field itself counts as zero
  if (crc32(std::span(header).first(header_size)) != header_crc) return std::nullopt;
  if (load_le<std::uint64_t>(header.data() + 24) != lba) return std::nullopt;

  const auto array_lba = load_le<std::uint64_t>(header.data() + 72);
  const auto nr_entries = load_le<std::uint32_t>(header.data() + 80);
  const auto entry_size = load_le<std::uint32_t>(header.data() + 84);
  if (nr_entries > kMaxGptEntries || entry_size < 128 || entry_size > kMaxGptEntrySize ||
      array_lba > disk.size() / block) {
    return std::nullopt;
  }
  std::vector<std::byte> array(std::size_t{nr_entries} * entry_size);
  if (!disk.read(array_lba * block, array)) return std::nullopt;
  if (crc32(array) != load_le<std::uint32_t>(header.data() + 88)) return std::nullopt;

  std::vector<Partition> partitions;
  for (std::uint32_t i = 0; i < nr_entries; ++i) {
    const std::byte* entry = array.data() + std::size_t{i} * entry_size;
    if (std::all_of(entry, entry + 16, [](std::byte b) { return b == std::byte{0}; })) continue;
    const auto first = load_le<std::uint64_t>(entry + 32),
               last = load_le<std::uint64_t>(entry + 40);
    if (first > last || last >= disk.size() / block) continue;
    partitions.push_back({.number = i + 1,
                          .start = first * block,
                          .size = (last - first + 1) * block,
                          .type = upper(guid_text(entry)),
                          .uuid = guid_text(entry + 16)});
  }
  return partitions;
}

struct MbrEntry {
  std::uint8_t status, type;
  std::uint64_t first, count;  // sectors
};

MbrEntry mbr_entry(std::span<const std::byte> sector, std::size_t index) {
  const std::byte* entry = sector.data() + kMbrEntries + index * kMbrEntrySize;
  return {std::to_integer<std::uint8_t>(entry[0]), std::to_integer<std::uint8_t>(entry[4]),
          load_le<std::uint32_t>(entry + 8), load_le<std::uint32_t>(entry + 12)};
}

bool is_extended(std::uint8_t type) {
  return type == 0x05 || type == 0x0f || type == 0x85;
}

class MbrReader {
 public:
  explicit MbrReader(Source& disk) : disk_(disk) {}

  PartitionTable read(std::span<const std::byte> sector) {
    signature_ = load_le<std::uint32_t>(sector.data() + 440);
    for (std::size_t i = 0; i < 4; ++i) {
      const MbrEntry entry = mbr_entry(sector, i);
      if (entry.type == 0 || entry.count == 0) continue;
      if (is_extended(entry.type)) {
        read_extended(entry.first);
      } else {
        add(static_cast<unsigned>(i + 1), entry.first, entry);
      }
    }
    std::sort(table_.partitions.begin(), table_.partitions.end(),
              [](const Partition& a, const Partition& b) { return a.number < b.number; });
    table_.kind = TableKind::kMbr;
    return std::move(table_);
  }

 private:
  void add(unsigned number, std::uint64_t first, const MbrEntry& entry) {
    table_.partitions.push_back({.number = number,
                                 .start = first * kMbrSector,
                                 .size = entry.count * kMbrSector,
                                 .type = fmt::format("{:02x}", entry.type),
                                 .uuid = fmt::format("{:08x}-{:02x}", signature_, number)});
  }

  // A chain of sectors, each with one partition (relative to the sector) and the next link
  // (relative to the extended partition). image-controlled: may be a circle.
  void read_extended(std::uint64_t base) {
    std::uint64_t at = base;
    std::set<std::uint64_t> seen;
    while (next_logical_ < 5 + kMaxLogical && seen.insert(at).second) {
      std::array<std::byte, kMbrSector> sector;
      if (at > disk_.size() / kMbrSector || !disk_.read(at * kMbrSector, sector)) return;
      if (load_le<std::uint16_t>(sector.data() + kMbrSignature) != 0xaa55) return;
      const MbrEntry logical = mbr_entry(sector, 0), link = mbr_entry(sector, 1);
      if (logical.type != 0 && logical.count != 0)
        add(next_logical_++, at + logical.first, logical);
      if (!is_extended(link.type) || link.count == 0) return;
      at = base + link.first;
    }
  }

  Source& disk_;
  PartitionTable table_;
  std::uint32_t signature_ = 0;
  unsigned next_logical_ = 5;
};

// A boot sector of a file system ends in 0xaa55 too; a table's entries are 0 or 0x80 in their
// first byte, and at least one is in use.
bool looks_like_mbr(std::span<const std::byte> sector) {
  if (load_le<std::uint16_t>(sector.data() + kMbrSignature) != 0xaa55) return false;
  bool any = false;
  for (std::size_t i = 0; i < 4; ++i) {
    const MbrEntry entry = mbr_entry(sector, i);
    if ((entry.status & 0x7f) != 0) return false;
    any = any || (entry.type != 0 && entry.count != 0 && entry.first != 0);
  }
  return any;
}

}  // namespace

Result<PartitionTable> read_partitions(Source& disk) {
  std::array<std::byte, kMbrSector> sector;
  if (disk.size() < sector.size()) return PartitionTable{};
  VMM_CHECK(disk.read(0, sector));

  for (std::uint32_t block : {512U, 4096U}) {
    if (auto found = read_gpt(disk, 1, block)) {
      return PartitionTable{TableKind::kGpt, std::move(*found), ""};
    }
  }
  if (!looks_like_mbr(sector)) return PartitionTable{};
  bool protective = false;
  for (std::size_t i = 0; i < 4; ++i) protective |= mbr_entry(sector, i).type == 0xee;
  if (!protective) return MbrReader(disk).read(sector);

  for (std::uint32_t block : {512U, 4096U}) {
    if (disk.size() < 2 * block) continue;
    if (auto found = read_gpt(disk, disk.size() / block - 1, block)) {
      return PartitionTable{TableKind::kGpt, std::move(*found),
                            "the GPT at the start is damaged, its backup was used"};
    }
  }
  return fail(ErrorKind::kInvalid,
              "the partition table (GPT) is damaged, and so is its backup: repair it with "
              "`sgdisk` or `gdisk`, or give a kernel with -k");
}

}  // namespace vmm::bootfind
