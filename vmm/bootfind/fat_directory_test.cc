// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/fat_directory.h"

#include <cstring>

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

using Bytes = std::vector<std::byte>;

void add_short(Bytes& to, const char* name11, std::uint8_t attributes = 0x20, std::uint8_t nt = 0) {
  Bytes entry(32);
  std::memcpy(entry.data(), name11, 11);
  entry[11] = std::byte{attributes};
  entry[12] = std::byte{nt};
  entry[26] = std::byte{5};
  to.insert(to.end(), entry.begin(), entry.end());
}

std::uint8_t checksum(const char* name11) {
  std::uint8_t sum = 0;
  for (int i = 0; i < 11; ++i) {
    sum = static_cast<std::uint8_t>((sum >> 1 | sum << 7) + static_cast<unsigned char>(name11[i]));
  }
  return sum;
}

// One part of a long name: at most 13 characters of ASCII.
void add_long(Bytes& to, std::uint8_t order, const std::string& part, std::uint8_t sum) {
  constexpr int kOffsets[] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
  Bytes entry(32);
  entry[0] = std::byte{order};
  entry[11] = std::byte{0x0f};
  entry[13] = std::byte{sum};
  for (std::size_t i = 0; i < 13; ++i) {
    const auto unit = static_cast<std::byte>(i < part.size()    ? part[i]
                                             : i == part.size() ? 0
                                                                : 0xff);
    entry[kOffsets[i]] = unit;
    entry[kOffsets[i] + 1] = i > part.size() ? std::byte{0xff} : std::byte{0};
  }
  to.insert(to.end(), entry.begin(), entry.end());
}

}  // namespace

TEST_CASE("FAT directory: short names show in the case that Linux wrote them", "[bootfind]") {
  Bytes bytes;
  add_short(bytes, "GRUB    CFG");
  add_short(bytes, "LOADER     ", 0x10, 0x08);
  add_short(bytes, "INITRD  IMG", 0x20, 0x18);
  add_short(bytes, "MYDISK     ", 0x08);  // the volume's label
  add_short(bytes, "\xe5GONE   TXT");
  const auto entries = parse_fat_directory(bytes);
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].name == "GRUB.CFG");
  CHECK(entries[1].name == "loader");
  CHECK(entries[1].directory);
  CHECK(entries[2].name == "initrd.img");
  CHECK(entries[2].first_cluster == 5);
}

TEST_CASE("FAT directory: a long name is put together from its parts", "[bootfind]") {
  Bytes bytes;
  add_long(bytes, 0x42, "amd64", checksum("VMLINU~1   "));
  add_long(bytes, 0x01, "vmlinuz-6.1.0", checksum("VMLINU~1   "));
  add_short(bytes, "VMLINU~1   ");
  const auto entries = parse_fat_directory(bytes);
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].name == "vmlinuz-6.1.0amd64");
  CHECK(entries[0].short_name == "VMLINU~1");
}

TEST_CASE("FAT directory: a long name that is damaged counts for nothing", "[bootfind]") {
  const std::uint8_t sum = checksum("VMLINU~1   ");
  auto name_after = [](Bytes bytes) {
    add_short(bytes, "VMLINU~1   ");
    return parse_fat_directory(bytes).at(0).name;
  };
  Bytes wrong_sum, gap, no_start, huge, zero;
  add_long(wrong_sum, 0x41, "x", static_cast<std::uint8_t>(sum + 1));
  add_long(gap, 0x43, "c", sum);
  add_long(gap, 0x01, "a", sum);
  add_long(no_start, 0x01, "a", sum);
  add_long(huge, 0x5f, "a", sum);
  add_long(zero, 0x40, "a", sum);
  for (const Bytes& bytes : {wrong_sum, gap, no_start, huge, zero}) {
    CHECK(name_after(bytes) == "VMLINU~1");
  }
}

TEST_CASE("FAT directory: nothing is read after the end mark", "[bootfind]") {
  Bytes bytes;
  add_short(bytes, "A          ");
  bytes.resize(bytes.size() + 32);
  add_short(bytes, "B          ");
  bytes.resize(bytes.size() - 1);
  CHECK(parse_fat_directory(bytes).size() == 1);
}

}  // namespace vmm::bootfind
