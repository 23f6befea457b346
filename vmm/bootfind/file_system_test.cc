// SPDX-License-Identifier: Apache-2.0
// ext2/3/4 and FAT, made by mke2fs and mkfs.vfat.
#include "vmm/bootfind/file_system.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "vmm/bootfind/testing/images.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

std::unique_ptr<FileSystem> open_or_fail(Source& source) {
  Result<std::unique_ptr<FileSystem>> fs = open_file_system(source);
  INFO((fs ? "" : fs.error().message()));
  REQUIRE(fs.has_value());
  return *std::move(fs);
}

// Reads everything that can be found, up to a limit; nothing may crash or hang.
void walk(FileSystem& fs, const std::string& path, unsigned depth, unsigned& budget) {
  Result<std::vector<std::string>> names = fs.list(path);
  if (!names) return;
  for (const std::string& name : *names) {
    if (budget == 0) return;
    --budget;
    const std::string child = path + "/" + name;
    Result<std::unique_ptr<File>> file = fs.open(child);
    if (file) {
      std::vector<std::byte> bytes(std::min<std::uint64_t>((*file)->size(), 100'000));
      (void)(*file)->read(0, bytes);
      (void)(*file)->read((*file)->size() - bytes.size(), bytes);
    } else if (depth > 0) {
      walk(fs, child, depth - 1, budget);
    }
  }
}

void walk_all(Source& source) {
  Result<std::unique_ptr<FileSystem>> fs = open_file_system(source);
  unsigned budget = 200;
  if (fs) walk(**fs, "", 6, budget);
}

}  // namespace

TEST_CASE("File systems: ext2, ext3 and ext4 give files, directories and links", "[bootfind]") {
  for (auto [image, type] : {std::pair{"unpartitioned.img", "ext4"},
                             {"ext3.img", "ext3"},
                             {"ext2.img", "ext2"},
                             {"ext4-inline.img", "ext4"}}) {
    INFO(image);
    FileSource source(image_path(image));
    auto fs = open_or_fail(source);
    CHECK(fs->type() == std::string(type));
    CHECK(fs->uuid() == "11111111-2222-3333-4444-555555555555");
    CHECK(read_text(*fs, "/boot/vmlinuz-6.1.0-9-amd64", 100).value_or("") ==
          "kernel 6.1.0-9-amd64 in boot\n");
    CHECK(has_file(*fs, "/sbin/init"));       // through a link to a directory
    CHECK(has_file(*fs, "/etc/os-release"));  // through a link to a file
    CHECK_FALSE(has_file(*fs, "/boot"));
    CHECK(fs->has_directory("/boot/grub"));
    CHECK_FALSE(fs->has_directory("/boot/large"));
    auto names = fs->list("/boot").value_or({});
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"grub", "initrd.img-6.1.0-18-amd64",
                                            "initrd.img-6.1.0-9-amd64", "large",
                                            "vmlinuz-6.1.0-18-amd64", "vmlinuz-6.1.0-9-amd64"});
    CHECK(fs->open("/nothing").error().kind() == ErrorKind::kNotFound);
  }
}

TEST_CASE("File systems: FAT12, FAT16 and FAT32 give files by long and by short name",
          "[bootfind]") {
  FileSource disk(image_path("bls-fat32.img")), esp_disk(image_path("debian-gpt.img")),
      floppy(image_path("alpine-fat12.img"));
  PartSource xbootldr(disk, 1 << 20, 40 << 20), esp(esp_disk, 1 << 20, 16 << 20);
  auto fat32 = open_or_fail(xbootldr), fat16 = open_or_fail(esp), fat12 = open_or_fail(floppy);
  CHECK(fat32->type() == std::string("vfat"));
  CHECK(fat32->uuid() == "1234-ABCD");
  CHECK(fat16->uuid() == "1234-ABCD");
  CHECK(read_text(*fat32, "/debian/6.10.2/vmlinuz-6.10.2", 100).value_or("") ==
        "kernel 6.10.2 in debian/6.10.2\n");
  CHECK(has_file(*fat32, "/LOADER/Entries/DEBIAN-6.9.4.CONF"));
  CHECK(has_file(*fat32, "/loader/entries/DEBIAN~1.CON"));
  CHECK(has_file(*fat16, "/efi/debian/grub.cfg"));
  CHECK(has_file(*fat12, "/boot/syslinux/syslinux.cfg"));
  CHECK(fat12->list("/boot").value_or({}).size() == 3);
  CHECK_FALSE(has_file(*fat32, "/debian"));
  CHECK_FALSE(has_file(*fat32, "/loader/loader.conf/x"));
}

TEST_CASE("File systems: a file of some megabytes is read bit by bit as it was written",
          "[bootfind]") {
  FileSource original(image_path("large"));
  std::vector<std::byte> wanted(original.size());
  REQUIRE(original.read(0, wanted).has_value());
  for (const char* image : {"unpartitioned.img", "ext2.img"}) {
    FileSource source(image_path(image));
    auto fs = open_or_fail(source);
    Result<std::unique_ptr<File>> file = fs->open("/boot/large");
    REQUIRE(file.has_value());
    REQUIRE((*file)->size() == wanted.size());
    std::vector<std::byte> got(wanted.size());
    for (std::size_t at = 0; at < got.size(); at += 70'001) {
      auto part = std::span(got).subspan(at, std::min<std::size_t>(70'001, got.size() - at));
      REQUIRE((*file)->read(at, part).has_value());
    }
    CHECK(got == wanted);
    CHECK_FALSE((*file)->read(wanted.size() - 1, std::span(got).first(2)).has_value());
    CHECK_FALSE((*file)->read(~0ULL, std::span(got).first(2)).has_value());
  }
}

TEST_CASE("File systems: links in circles are not followed for ever", "[bootfind]") {
  FileSource source(image_path("links.img"));
  auto fs = open_or_fail(source);
  CHECK_FALSE(has_file(*fs, "/boot/loop1"));
  CHECK(read_text(*fs, "/boot/vmlinuz-1.0", 100).value_or("") == "kernel behind a link\n");
  CHECK(has_file(*fs, "/boot/self/self/self/real"));
  std::string deep = "/boot";
  for (int i = 0; i < 3000; ++i) deep += "/self";
  CHECK_FALSE(has_file(*fs, deep + "/real"));
}

TEST_CASE("File systems: what cannot be read is named", "[bootfind]") {
  MemorySource source(1 << 20);
  CHECK(open_file_system(source).error().message() == "no file system that is known");
  std::memcpy(source.bytes().data(), "XFSB", 4);
  CHECK(open_file_system(source).error().message() == "xfs cannot be read");
  std::memcpy(source.bytes().data(), "LUKS\xba\xbe", 6);
  CHECK(open_file_system(source).error().message() == "LUKS (encrypted) cannot be read");
}

TEST_CASE("File systems: an ext superblock that claims more than the partition is refused",
          "[bootfind]") {
  MemorySource source = load_image("empty.img");
  store_le(source.bytes().data() + 1024 + 4, std::uint32_t{0xfffffff0});
  Result<std::unique_ptr<FileSystem>> fs = open_file_system(source);
  REQUIRE_FALSE(fs.has_value());
  CHECK(fs.error().message().find("larger than its partition") != std::string::npos);
  store_le(source.bytes().data() + 1024 + 4, std::uint32_t{100});
  store_le(source.bytes().data() + 1024 + 24, std::uint32_t{60});
  CHECK_FALSE(open_file_system(source).has_value());
}

TEST_CASE("File systems: FAT chains in circles end", "[bootfind]") {
  MemorySource source = load_image("alpine-fat12.img");
  const auto reserved = load_le<std::uint16_t>(source.bytes().data() + 14) * 512U;
  // Every cluster is followed by cluster 2.
  for (std::size_t at = reserved + 3; at < reserved + 3 * 512; at += 3) {
    store_le(source.bytes().data() + at, std::uint16_t{0x2002});
    source.bytes()[at + 2] = std::byte{0};
  }
  walk_all(source);
  auto fs = open_or_fail(source);
  CHECK_FALSE(has_file(*fs, "/boot/nothing"));
}

TEST_CASE("File systems: images cut off anywhere are errors, not crashes", "[bootfind]") {
  for (const char* image : {"empty.img", "alpine-fat12.img"}) {
    MemorySource source = load_image(image);
    for (std::size_t size = source.size(); size > 0; size = size * 3 / 4) {
      source.bytes().resize(size);
      walk_all(source);
    }
  }
}

TEST_CASE("File systems: damaged bytes in the metadata are errors, not crashes", "[bootfind]") {
  std::mt19937 random(7);
  for (const char* image : {"links.img", "alpine-fat12.img"}) {
    const MemorySource original = load_image(image);
    for (int round = 0; round < 150; ++round) {
      MemorySource source = original;
      for (int i = 0; i < 60; ++i) {
        // Most of what matters is at the start.
        const std::size_t range = i % 2 == 0 ? 16 << 10 : 1 << 20;
        source.bytes()[random() % range] = static_cast<std::byte>(random());
      }
      // The magic stays, so that the rest is looked at.
      if (image[0] == 'l') store_le(source.bytes().data() + 1024 + 56, std::uint16_t{0xef53});
      walk_all(source);
    }
  }
}

}  // namespace vmm::bootfind
