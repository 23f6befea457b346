// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/plain_kernels.h"

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {

TEST_CASE("find_plain_kernels: the newest Debian kernel comes first, with its initrd",
          "[bootfind]") {
  const auto found = find_plain_kernels({"config-6.1.0-9-amd64", "initrd.img-6.1.0-18-amd64",
                                         "vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64",
                                         "vmlinuz-6.1.0-18-amd64", "vmlinuz-6.1.0-18-amd64.old"});
  REQUIRE(found.size() == 2);
  CHECK(found[0].kernel == "vmlinuz-6.1.0-18-amd64");
  CHECK(found[0].initrd == "initrd.img-6.1.0-18-amd64");
  CHECK(found[1].kernel == "vmlinuz-6.1.0-9-amd64");
}

TEST_CASE("find_plain_kernels: Fedora's, Arch's and Alpine's names are known", "[bootfind]") {
  auto initrd_of = [](const std::string& kernel, const std::string& initrd) {
    const auto found = find_plain_kernels({kernel, initrd, "unrelated"});
    return found.size() == 1 ? found[0].initrd : "none found";
  };
  CHECK(initrd_of("vmlinuz-6.5.6-300.fc39.x86_64", "initramfs-6.5.6-300.fc39.x86_64.img") ==
        "initramfs-6.5.6-300.fc39.x86_64.img");
  CHECK(initrd_of("vmlinuz-linux", "initramfs-linux.img") == "initramfs-linux.img");
  CHECK(initrd_of("vmlinuz-virt", "initramfs-virt") == "initramfs-virt");
  CHECK(initrd_of("vmlinuz", "initrd.img") == "initrd.img");
  CHECK(initrd_of("vmlinuz-6.1", "initrd.img-6.2") == "");
}

TEST_CASE("find_plain_kernels: a rescue kernel is the last choice", "[bootfind]") {
  const auto found =
      find_plain_kernels({"vmlinuz-0-rescue-aa", "vmlinuz-5.1", "vmlinuz-zz-rescue"});
  REQUIRE(found.size() == 3);
  CHECK(found[0].kernel == "vmlinuz-5.1");
}

}  // namespace vmm::bootfind
