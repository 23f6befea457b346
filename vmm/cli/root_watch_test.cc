// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/root_watch.h"

#include "vmm/core/testing/catch.h"

using namespace vmm::cli;

namespace {

struct Kept final : vmm::legacy::ConsoleSink {
  void write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string text;
};

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

TEST_CASE("RootWatch: a console is handed on as it is, and a kernel without a root is seen once",
          "[cli]") {
  Kept kept;
  int nr_calls = 0;
  RootWatch watch(kept, [&] { ++nr_calls; });
  const std::string panic =
      "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on "
      "unknown-block(0,0)\r\n";
  // A serial port sends byte by byte.
  for (std::size_t i = 0; i < panic.size(); ++i) {
    CHECK(nr_calls == 0);
    watch.write(bytes(std::string_view(panic).substr(i, 1)));
  }
  CHECK(nr_calls == 1);
  watch.write(bytes(panic));
  CHECK(nr_calls == 1);
  CHECK(kept.text == panic + panic);
}

TEST_CASE("RootWatch: ordinary lines, and lines without an end, mean nothing", "[cli]") {
  Kept kept;
  int nr_calls = 0;
  RootWatch watch(kept, [&] { ++nr_calls; });
  watch.write(bytes("VFS: Mounted root (ext4 filesystem) readonly on device 254:1.\n"));
  watch.write(bytes("/etc/fstab: /data does not exist\n"));
  const std::string endless(1 << 20, 'x');
  watch.write(bytes(endless));
  watch.write(bytes("VFS: Unable to mount root fs\n"));  // far behind the start of that line
  CHECK(nr_calls == 0);
  CHECK(kept.text.size() > endless.size());
  watch.write(bytes("VFS: Unable to mount root fs\n"));
  CHECK(nr_calls == 1);
}

TEST_CASE("says_no_root: the words of kernels and of the usual initrds", "[cli]") {
  CHECK(says_no_root("VFS: Cannot open root device \"vda1\" or unknown-block(0,0): error -6"));
  CHECK(says_no_root("Gave up waiting for root file system device.  Common problems:"));
  CHECK(says_no_root("ALERT!  /dev/vda1 does not exist.  Dropping to a shell!"));
  CHECK(says_no_root("dracut-initqueue[312]: Warning: Could not boot."));
  CHECK(says_no_root("Mounting root failed."));
  CHECK_FALSE(says_no_root("ALERT! the door is open"));
}

TEST_CASE("explain_no_root: names the reason that the machine knows", "[cli]") {
  CHECK(explain_no_root(0, false).find("no disk") != std::string::npos);
  CHECK(explain_no_root(1, false).find("virtio_blk") != std::string::npos);
  CHECK(explain_no_root(1, true).find("root=") != std::string::npos);
}
