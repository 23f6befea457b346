// SPDX-License-Identifier: Apache-2.0
// The machine's small decisions: command line, partitions, kernel to boot, how a run ended.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vmm/core/testing/catch.h"
#include "vmm/default_kernel.h"
#include "vmm/end_signal.h"
#include "vmm/kernel_params.h"
#include "vmm/partition_table.h"

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
