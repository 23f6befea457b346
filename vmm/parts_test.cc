// SPDX-License-Identifier: Apache-2.0
// The machine's small decisions: command line, partitions, kernel to boot, how a run ended.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vmm/core/testing/catch.h"
#include "vmm/default_kernel.h"
#include "vmm/end_signal.h"
#include "vmm/kernel_params.h"
#include "vmm/partition_table.h"
#include "vmm/root_device.h"

using namespace vmm;

TEST_CASE("complete_params: adds what is missing, in front", "[machine]") {
  CHECK(complete_params("", "ttyS0", {}) == "console=ttyS0");
  CHECK(complete_params("quiet", "ttyS0", {.exists = true}) ==
        "console=ttyS0 root=/dev/vda rw quiet");
  CHECK(complete_params("quiet", "ttyS0", {.exists = true, .partitioned = true}) ==
        "console=ttyS0 root=/dev/vda1 rw quiet");
  CHECK(complete_params("", "ttyS0", {.exists = true, .read_only = true}) ==
        "console=ttyS0 root=/dev/vda ro");
  CHECK(complete_params("ro", "ttyS0", {.exists = true}) == "console=ttyS0 root=/dev/vda ro");
  CHECK(complete_params("quiet", "hvc0", {}) == "console=hvc0 quiet");
}

TEST_CASE("complete_params: leaves alone what the user gave", "[machine]") {
  CHECK(complete_params("root=LABEL=x console=tty0", "ttyS0", {.exists = true}) ==
        "root=LABEL=x console=tty0");
  // Neither a longer name, nor init's arguments, nor a quoted text is the parameter.
  CHECK(complete_params("rootwait", "ttyS0", {.exists = true}) ==
        "console=ttyS0 root=/dev/vda rw rootwait");
  CHECK(complete_params("init=/x -- root=y", "ttyS0", {.exists = true}) ==
        "console=ttyS0 root=/dev/vda rw init=/x -- root=y");
  CHECK(complete_params("cmd=\"a root=b\"", "ttyS0", {.exists = true}) ==
        "console=ttyS0 root=/dev/vda rw cmd=\"a root=b\"");
}

namespace {

using Sectors = std::array<std::byte, kPartitionTableBytes>;

Sectors with_signature() {
  Sectors sectors{};
  sectors[510] = std::byte{0x55};
  sectors[511] = std::byte{0xaa};
  return sectors;
}
void put_entry(Sectors& sectors, std::size_t index, std::uint8_t flag, std::uint8_t type,
               std::uint32_t first, std::uint32_t count) {
  std::byte* entry = &sectors[446 + index * 16];
  entry[0] = std::byte{flag};
  entry[4] = std::byte{type};
  std::memcpy(entry + 8, &first, 4);
  std::memcpy(entry + 12, &count, 4);
}

}  // namespace

TEST_CASE("has_partition_table: MBR and GPT count, empty disks and file systems do not",
          "[machine]") {
  CHECK_FALSE(has_partition_table({}));
  CHECK_FALSE(has_partition_table(Sectors{}));
  CHECK_FALSE(has_partition_table(with_signature()));

  Sectors mbr = with_signature();
  put_entry(mbr, 1, 0x80, 0x83, 2048, 4096);
  CHECK(has_partition_table(mbr));
  CHECK(has_partition_table(std::span(mbr).first(512)));
  CHECK_FALSE(has_partition_table(std::span(mbr).first(511)));

  Sectors vfat = with_signature();  // boot code where the table would be
  put_entry(vfat, 0, 0x72, 0x6f, 0x6f742066, 0x61696c65);
  CHECK_FALSE(has_partition_table(vfat));

  Sectors gpt{};
  std::memcpy(&gpt[512], "EFI PART", 8);
  CHECK(has_partition_table(gpt));
}

TEST_CASE("find_default_kernel: the running one, else the newest, else a clear error",
          "[machine]") {
  std::string directory = "/tmp/vmm-boot-test-XXXXXX";
  REQUIRE(::mkdtemp(directory.data()) != nullptr);
  auto touch = [&](const char* name) {
    ::close(::open((directory + "/" + name).c_str(), O_CREAT | O_WRONLY, 0600));
  };
  Result<std::string> none = find_default_kernel(directory, "6.1.0");
  REQUIRE_FALSE(none);
  CHECK(none.error().message() == "no --kernel given, and there is neither " + directory +
                                      "/vmlinuz-6.1.0 nor any other " + directory + "/vmlinuz-*");
  touch("vmlinuz-6.9.0-1");
  touch("vmlinuz-6.10.0-1");
  touch("initrd.img-7");
  CHECK(*find_default_kernel(directory, "6.1.0") == directory + "/vmlinuz-6.10.0-1");
  touch("vmlinuz-6.1.0");
  CHECK(*find_default_kernel(directory, "6.1.0") == directory + "/vmlinuz-6.1.0");
  for (const char* name :
       {"vmlinuz-6.9.0-1", "vmlinuz-6.10.0-1", "initrd.img-7", "vmlinuz-6.1.0"}) {
    ::unlink((directory + "/" + name).c_str());
  }
  ::rmdir(directory.c_str());
}

TEST_CASE("param_value: the last one counts, and not what is for init", "[machine]") {
  CHECK(param_value("root=/dev/vda quiet root=/dev/vdb", "root") == "/dev/vdb");
  CHECK(param_value("rootwait quiet", "root") == "");
  CHECK(param_value("quiet -- root=/dev/vda", "root") == "");
}

TEST_CASE("complaint_about_root: says what there is where root= names nothing of it", "[machine]") {
  const DiskPartitions disks[] = {
      {"debian.qcow2", true, {1, 15}}, {"data.img", false, {}}, {"odd.img", true, {}}};
  auto complaint = [&](const char* params) { return complaint_about_root(params, disks); };
  const std::string there =
      "there is /dev/vda (debian.qcow2: vda1, vda15), /dev/vdb (data.img), /dev/vdc (odd.img)";
  for (const char* good :
       {"", "quiet", "root=", "root=/dev/vd", "root=UUID=12", "root=/dev/vda1", "root=/dev/vda15",
        "root=/dev/vdb", "root=/dev/vdc7", "root=/dev/mapper/x", "root=/dev/sda1 root=/dev/vdb"}) {
    INFO(good);
    CHECK(complaint(good).empty());
  }
  for (const char* foreign : {"/dev/sda1", "/dev/nvme0n1p1", "/dev/vdd", "/dev/vdd1", "/dev/vdA",
                              "/dev/vda1x", "/dev/vda99999999999", "/dev/vd1"}) {
    INFO(foreign);
    CHECK(complaint_about_root(std::string("root=") + foreign, disks) ==
          std::string("root=") + foreign + " is no disk of this virtual machine: " + there);
  }
  CHECK(complaint("root=/dev/vda2") == "root=/dev/vda2 is no partition of that disk: " + there);
  CHECK(complaint("root=/dev/vdb1") == "root=/dev/vdb1 is no partition of that disk: " + there);
  CHECK(complaint("root=/dev/vda") ==
        "root=/dev/vda is a disk with partitions, no file system: " + there);
  CHECK(complaint_about_root("root=/dev/vda", {}) ==
        "root=/dev/vda is no disk of this virtual machine: it has no disk (-d)");
}

TEST_CASE("partition_numbers: of a GPT and of an MBR, and none where they cannot all be seen",
          "[machine]") {
  std::vector<std::byte> gpt(kPartitionTableBytes);
  auto put32 = [&](std::size_t at, std::uint32_t value) { std::memcpy(&gpt[at], &value, 4); };
  std::memcpy(&gpt[512], "EFI PART", 8);
  put32(512 + 72, 2);
  put32(512 + 80, 128);
  put32(512 + 84, 128);
  gpt[1024] = std::byte{1};
  gpt[1024 + 14 * 128 + 15] = std::byte{1};
  gpt[1024 + 127 * 128] = std::byte{1};
  CHECK(partition_numbers(gpt) == std::vector<unsigned>{1, 15, 128});
  CHECK(partition_numbers(std::span(gpt).first(16384)).empty());
  CHECK(partition_numbers(std::span(gpt).first(600)).empty());
  put32(512 + 80, 0xffffffff);
  CHECK(partition_numbers(gpt).empty());
  put32(512 + 80, 128);
  put32(512 + 84, 0);
  CHECK(partition_numbers(gpt).empty());

  std::vector<std::byte> mbr(512);
  mbr[510] = std::byte{0x55};
  mbr[511] = std::byte{0xaa};
  for (std::size_t i : {0, 2}) {
    mbr[446 + i * 16 + 4] = std::byte{0x83};
    mbr[446 + i * 16 + 8] = std::byte{1};
    mbr[446 + i * 16 + 12] = std::byte{1};
  }
  CHECK(partition_numbers(mbr) == std::vector<unsigned>{1, 3});
  mbr[446 + 2 * 16 + 4] = std::byte{0x05};  // there are more behind it
  CHECK(partition_numbers(mbr).empty());
  CHECK(partition_numbers({}).empty());
}

TEST_CASE("EndSignal: the first reason stays, and is readable for good", "[machine]") {
  EndSignal end = *EndSignal::create();
  pollfd ready{end.fd(), POLLIN, 0};
  CHECK(::poll(&ready, 1, 0) == 0);
  CHECK_FALSE(end.outcome());
  end.raise({Outcome::Kind::kGuestCrash, "boom"});
  end.raise({Outcome::Kind::kPowerOff, {}});
  CHECK(::poll(&ready, 1, 0) == 1);
  CHECK(::poll(&ready, 1, 0) == 1);
  CHECK(end.outcome()->kind == Outcome::Kind::kGuestCrash);
  CHECK(end.outcome()->message == "boom");
}
