// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/finder.h"

#include <random>

#include "vmm/bootfind/testing/images.h"
#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

struct Found {
  BootEntry entry;
  std::string kernel, initrd;
  std::size_t nr_entries;
};

Sink append_to(std::string& text) {
  return [&text](std::span<const std::byte> bytes) -> Result<void> {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  };
}

Found find(const std::string& image, const std::string& wanted = "", FinderOptions options = {}) {
  FileSource source(image_path(image));
  Finder finder(source, options);
  Result<void> scanned = finder.scan();
  INFO(image << ": " << (scanned ? "" : scanned.error().message()));
  REQUIRE(scanned.has_value());
  Result<std::size_t> index = finder.choose(wanted);
  REQUIRE(index.has_value());
  Found found{finder.entries()[*index], "", "", finder.entries().size()};
  REQUIRE(finder.write_kernel(*index, append_to(found.kernel)).has_value());
  REQUIRE(finder.write_initrd(*index, append_to(found.initrd)).has_value());
  return found;
}

std::string error_of(Source& source) {
  Finder finder(source, {});
  Result<void> scanned = finder.scan();
  return scanned ? "" : scanned.error().message();
}

}  // namespace

TEST_CASE("Finder: Debian on GPT with an ESP boots what its grub.cfg says", "[bootfind]") {
  const Found found = find("debian-gpt.img");
  CHECK(found.entry.method == BootMethod::kGrub);
  CHECK(found.entry.title == "Debian GNU/Linux");
  CHECK(found.entry.where == "partition 2 (ext4), /boot/grub/grub.cfg");
  CHECK(found.entry.command_line == "root=UUID=11111111-2222-3333-4444-555555555555 ro quiet");
  CHECK(found.kernel == "kernel 6.1.0-18-amd64 in boot\n");
  CHECK(found.initrd == "initrd 6.1.0-18-amd64 in boot\n");
  CHECK(found.nr_entries == 2);
}

TEST_CASE("Finder: other entries are chosen by number, id and title", "[bootfind]") {
  for (const char* wanted :
       {"2", "gnulinux-advanced>gnulinux-6.1.0-9", "Debian GNU/Linux, with Linux 6.1.0-9-amd64"}) {
    CHECK(find("debian-gpt.img", wanted).kernel == "kernel 6.1.0-9-amd64 in boot\n");
  }
  FileSource source(image_path("debian-gpt.img"));
  Finder finder(source, {});
  REQUIRE(finder.scan().has_value());
  CHECK(finder.choose("3").error().message() ==
        "--boot 3: the disk has no such entry; --boot list shows its 2");
}

TEST_CASE("Finder: a disk without partitions and a logical partition are searched too",
          "[bootfind]") {
  for (const char* image : {"unpartitioned.img", "ext2.img", "ext3.img", "ext4-inline.img"}) {
    CHECK(find(image).entry.where.find("the whole disk (ext") == 0);
  }
  CHECK(find("mbr-logical.img").entry.where == "partition 5 (ext4), /boot/grub/grub.cfg");
}

TEST_CASE("Finder: with /boot on a partition of its own, paths are from there", "[bootfind]") {
  const Found found = find("separate-boot.img");
  CHECK(found.entry.where == "partition 1 (ext2), /grub/grub.cfg");
  CHECK(found.entry.kernel == "/vmlinuz-6.1.0-18-amd64");
  CHECK(found.entry.command_line.find("root=UUID=11111111") == 0);
  CHECK(found.initrd == "initrd 6.1.0-18-amd64 in .\n");
}

TEST_CASE("Finder: systemd-boot's newest entry on a FAT32 XBOOTLDR", "[bootfind]") {
  const Found found = find("bls-fat32.img");
  CHECK(found.entry.method == BootMethod::kBls);
  CHECK(found.entry.id == "debian-6.10.2");
  CHECK(found.kernel == "kernel 6.10.2 in debian/6.10.2\n");
  CHECK(find("bls-fat32.img", "debian-6.9.4").initrd == "initrd 6.9.4 in debian/6.9.4\n");
}

TEST_CASE("Finder: Fedora's entries go by grubenv, beside a root that cannot be read",
          "[bootfind]") {
  const Found found = find("fedora.img");
  CHECK(found.entry.id == "0123-6.5.6-300.fc39.x86_64");
  CHECK(found.entry.command_line ==
        "root=UUID=11111111-2222-3333-4444-555555555555 ro rootflags=subvol=root console=ttyS0");
}

TEST_CASE("Finder: Alpine's syslinux.cfg on FAT12", "[bootfind]") {
  const Found found = find("alpine-fat12.img");
  CHECK(found.entry.method == BootMethod::kSyslinux);
  CHECK(found.kernel == "kernel lts\n");
  CHECK(found.initrd == "initrd lts\n");
  CHECK(found.entry.command_line == "modules=loop quiet");
}

TEST_CASE("Finder: without any configuration, the newest kernel and the partition with an init",
          "[bootfind]") {
  const Found found = find("plain.img");
  CHECK(found.entry.method == BootMethod::kPlain);
  CHECK(found.kernel == "kernel 6.1.0-18-amd64 in boot\n");
  CHECK(found.initrd == "initrd 6.1.0-18-amd64 in boot\n");
  CHECK(found.entry.command_line == "root=PARTUUID=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee rw");
  CHECK(found.nr_entries == 3);
  CHECK(find("plain.img", "vmlinuz-5.10.0").initrd.empty());

  FinderOptions options;
  options.read_only = true;
  options.disk_name = "/dev/vdb";
  CHECK(find("links.img", "", options).entry.command_line == "root=/dev/vdb ro");
}

TEST_CASE("Finder: a link to a kernel counts, a circle of links does not", "[bootfind]") {
  const Found found = find("links.img");
  CHECK(found.kernel == "kernel behind a link\n");
  CHECK(found.nr_entries == 1);
}

TEST_CASE("Finder: an entry whose files are gone is passed over", "[bootfind]") {
  const Found found = find("dangling.img");
  CHECK(found.entry.method == BootMethod::kPlain);
  CHECK(found.kernel == "kernel 6.1.0-18-amd64 in boot\n");
}

TEST_CASE("Finder: where there is no kernel, the message says what was looked at and what to do",
          "[bootfind]") {
  FileSource empty(image_path("empty.img"));
  CHECK(error_of(empty) ==
        "no kernel was found on the disk (looked at: the whole disk (ext4): no boot entries, no "
        "vmlinuz); give one with -k");
  MemorySource zeros(1 << 20);
  CHECK(
      error_of(zeros) ==
      "no kernel was found on the disk (looked at: the whole disk: no file system that is known); "
      "give one with -k");
  MemorySource nothing(std::size_t{0});
  CHECK(error_of(nothing).find("no kernel was found") == 0);
}

TEST_CASE("Finder: kernels and initrds beyond their limit are refused", "[bootfind]") {
  FileSource source(image_path("debian-gpt.img"));
  FinderOptions options;
  options.max_kernel = 10;
  options.max_initrd = 10;
  Finder finder(source, options);
  REQUIRE(finder.scan().has_value());
  std::string text;
  CHECK(
      finder.write_kernel(0, append_to(text)).error().message() ==
      "partition 2 (ext4), /boot/vmlinuz-6.1.0-18-amd64: 30 bytes are more than the 0 MiB that are "
      "allowed");
  CHECK_FALSE(finder.write_initrd(0, append_to(text)).has_value());
  CHECK(text.empty());
}

TEST_CASE("Finder: damaged disks are errors, not crashes", "[bootfind]") {
  std::mt19937 random(11);
  for (const char* image : {"links.img", "alpine-fat12.img", "fedora.img"}) {
    const MemorySource original = load_image(image);
    for (int round = 0; round < 60; ++round) {
      MemorySource source = original;
      for (int i = 0; i < 200; ++i) {
        const std::size_t range = i % 2 == 0 ? 64 << 10 : source.size();
        source.bytes()[random() % range] = static_cast<std::byte>(random());
      }
      Finder finder(source, {});
      std::string text;
      if (finder.scan()) (void)finder.write_kernel(0, append_to(text));
    }
  }
}

}  // namespace vmm::bootfind
