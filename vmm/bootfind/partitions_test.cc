// SPDX-License-Identifier: Apache-2.0
// The tables that sfdisk writes are read in finder_test.cc; here are those that nobody should
// write.
#include "vmm/bootfind/partitions.h"

#include <cstring>

#include "vmm/bootfind/testing/memory_source.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

constexpr std::size_t kSector = 512;

void put_mbr_entry(MemorySource& disk, std::uint64_t sector, unsigned index, std::uint8_t type,
                   std::uint32_t first, std::uint32_t count) {
  std::byte* base = disk.bytes().data() + sector * kSector;
  std::byte* entry = base + 446 + index * 16;
  entry[4] = std::byte{type};
  store_le(entry + 8, first);
  store_le(entry + 12, count);
  store_le(base + 510, std::uint16_t{0xaa55});
}

std::uint32_t crc32(const std::byte* bytes, std::size_t size) {
  std::uint32_t crc = ~0U;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= std::to_integer<std::uint32_t>(bytes[i]);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc % 2 * 0xedb88320);
  }
  return ~crc;
}

// A GPT with one partition at [first, last], its header at `lba` and its array at `array`.
void put_gpt(MemorySource& disk, std::uint64_t lba, std::uint64_t array, std::uint64_t first,
             std::uint64_t last, std::size_t block = kSector, std::uint32_t nr_entries = 4) {
  std::byte* entry = disk.bytes().data() + array * block;
  std::memset(entry, 0x11, 32);
  store_le(entry + 32, first);
  store_le(entry + 40, last);
  std::byte* header = disk.bytes().data() + lba * block;
  std::memcpy(header, "EFI PART", 8);
  store_le(header + 8, std::uint32_t{0x10000});
  store_le(header + 12, std::uint32_t{92});
  store_le(header + 24, lba);
  store_le(header + 72, array);
  store_le(header + 80, nr_entries);
  store_le(header + 84, std::uint32_t{128});
  store_le(header + 88, nr_entries <= 4 ? crc32(entry, nr_entries * 128) : 0);
  store_le(header + 16, std::uint32_t{0});
  store_le(header + 16, crc32(header, 92));
}

}  // namespace

TEST_CASE("Partitions: an empty or tiny disk has no table", "[bootfind]") {
  for (std::size_t size : {0, 1, 511, 512, 4096, 1 << 20}) {
    MemorySource disk(size);
    Result<PartitionTable> table = read_partitions(disk);
    REQUIRE(table.has_value());
    CHECK(table->kind == TableKind::kNone);
  }
}

TEST_CASE("Partitions: a GPT is read on 512 and on 4096 byte sectors", "[bootfind]") {
  for (std::size_t block : {512, 4096}) {
    MemorySource disk(1 << 20);
    put_mbr_entry(disk, 0, 0, 0xee, 1, 100);
    put_gpt(disk, 1, 2, 40, 49, block);
    Result<PartitionTable> table = read_partitions(disk);
    REQUIRE(table.has_value());
    CHECK(table->kind == TableKind::kGpt);
    REQUIRE(table->partitions.size() == 1);
    CHECK(table->partitions[0].start == 40 * block);
    CHECK(table->partitions[0].size == 10 * block);
    CHECK(table->partitions[0].uuid == "11111111-1111-1111-1111-111111111111");
  }
}

TEST_CASE("Partitions: with the first GPT damaged, the backup is used and it is said",
          "[bootfind]") {
  MemorySource disk(1 << 20);
  put_mbr_entry(disk, 0, 0, 0xee, 1, 100);
  put_gpt(disk, 1, 2, 40, 49);
  put_gpt(disk, 2047, 2040, 60, 69);
  disk.bytes()[kSector + 60] ^= std::byte{1};
  Result<PartitionTable> table = read_partitions(disk);
  REQUIRE(table.has_value());
  REQUIRE(table->partitions.size() == 1);
  CHECK(table->partitions[0].start == 60 * kSector);
  CHECK(table->remark.find("backup") != std::string::npos);

  disk.bytes()[2040 * kSector] ^= std::byte{1};  // the backup's array
  table = read_partitions(disk);
  REQUIRE_FALSE(table.has_value());
  CHECK(table.error().message().find("-k") != std::string::npos);
}

TEST_CASE("Partitions: GPT headers with absurd numbers are refused, not obeyed", "[bootfind]") {
  auto is_refused = [](auto change) {
    MemorySource disk(1 << 20);
    put_mbr_entry(disk, 0, 0, 0xee, 1, 100);
    change(disk);
    return !read_partitions(disk).has_value();
  };
  CHECK(is_refused([](MemorySource& disk) { put_gpt(disk, 1, 2, 1, 2, 512, 0xffffffff); }));
  CHECK(is_refused([](MemorySource& disk) { put_gpt(disk, 1, 2, 1, 2, 512, 1024); }));  // wrong CRC
  CHECK(is_refused([](MemorySource& disk) {
    put_gpt(disk, 1, 2, 1, 2);
    std::byte* header = disk.bytes().data() + kSector;
    store_le(header + 72, ~0ULL / 512);  // the array far away
    store_le(header + 16, std::uint32_t{0});
    store_le(header + 16, crc32(header, 92));
  }));
}

TEST_CASE("Partitions: a GPT partition that ends beyond the disk or before it starts is left out",
          "[bootfind]") {
  for (auto [first, last] :
       {std::pair{40ULL, 39ULL}, {40ULL, 2048ULL}, {40ULL, ~0ULL}, {~0ULL, ~0ULL}}) {
    MemorySource disk(1 << 20);
    put_mbr_entry(disk, 0, 0, 0xee, 1, 100);
    put_gpt(disk, 1, 2, first, last);
    Result<PartitionTable> table = read_partitions(disk);
    REQUIRE(table.has_value());
    CHECK(table->partitions.empty());
  }
}

TEST_CASE("Partitions: logical partitions are found, and a circle of them comes to an end",
          "[bootfind]") {
  MemorySource disk(1 << 20);
  put_mbr_entry(disk, 0, 0, 0x83, 10, 10);
  put_mbr_entry(disk, 0, 1, 0x05, 100, 1000);
  put_mbr_entry(disk, 100, 0, 0x83, 1, 20);
  put_mbr_entry(disk, 100, 1, 0x05, 50, 100);
  put_mbr_entry(disk, 150, 0, 0x83, 2, 30);
  put_mbr_entry(disk, 150, 1, 0x05, 0, 100);  // back to the first
  Result<PartitionTable> table = read_partitions(disk);
  REQUIRE(table.has_value());
  CHECK(table->kind == TableKind::kMbr);
  REQUIRE(table->partitions.size() == 3);
  CHECK(table->partitions[1].number == 5);
  CHECK(table->partitions[1].start == 101 * kSector);
  CHECK(table->partitions[2].number == 6);
  CHECK(table->partitions[2].start == 152 * kSector);
  CHECK(table->partitions[2].uuid == "00000000-06");
}

TEST_CASE("Partitions: a boot sector without partitions is no table", "[bootfind]") {
  MemorySource disk(1 << 20);
  store_le(disk.bytes().data() + 510, std::uint16_t{0xaa55});
  CHECK(read_partitions(disk)->kind == TableKind::kNone);
  std::memset(disk.bytes().data() + 446, 'A', 64);  // text of a boot loader's message
  CHECK(read_partitions(disk)->kind == TableKind::kNone);
}

}  // namespace vmm::bootfind
