// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/bls.h"

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

BlsFile entry(const std::string& name, const std::string& more = "") {
  return {name, "title " + name + "\nlinux /vmlinuz-" + name + "\n" + more};
}

std::string first_id(const std::vector<BlsFile>& files, std::string_view wanted = "") {
  const BootConfig config = read_bls(files, {}, wanted);
  return config.entries.empty() ? "none" : config.entries[config.default_entry].id;
}

}  // namespace

TEST_CASE("BLS: Fedora's entry is read with GRUB's variables in it", "[bootfind]") {
  const BlsFile file{"0a1b-6.5.6-300.fc39.x86_64.conf",
                     "title Fedora Linux (6.5.6-300.fc39.x86_64) 39 (Cloud Edition)\n"
                     "version 6.5.6-300.fc39.x86_64\n"
                     "linux /vmlinuz-6.5.6-300.fc39.x86_64\n"
                     "initrd /initramfs-6.5.6-300.fc39.x86_64.img $tuned_initrd\n"
                     "options root=UUID=77 ro rootflags=subvol=root $kernelopts\n"
                     "options console=ttyS0,115200n8\n"
                     "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class fedora\n"};
  const BootConfig config = read_bls({file}, {{"kernelopts", "no_timer_check"}}, "");
  REQUIRE(config.entries.size() == 1);
  const ConfigEntry& found = config.entries[0];
  CHECK(found.id == "0a1b-6.5.6-300.fc39.x86_64");
  CHECK(found.title == "Fedora Linux (6.5.6-300.fc39.x86_64) 39 (Cloud Edition)");
  CHECK(found.kernel == "/vmlinuz-6.5.6-300.fc39.x86_64");
  CHECK(found.initrds == std::vector<std::string>{"/initramfs-6.5.6-300.fc39.x86_64.img"});
  CHECK(found.command_line ==
        "root=UUID=77 ro rootflags=subvol=root no_timer_check console=ttyS0,115200n8");
}

TEST_CASE("BLS: the newest version is the default", "[bootfind]") {
  CHECK(first_id({entry("id-6.9.conf"), entry("id-6.10.conf"), entry("id-6.2.conf")}) == "id-6.10");
  // By the version field where sort keys are given; entries with a sort key come first.
  CHECK(first_id({entry("zz.conf"), entry("b.conf", "sort-key deb\nversion 1\n"),
                  entry("a.conf", "sort-key deb\nversion 2\n")}) == "a");
}

TEST_CASE("BLS: an entry whose boot attempts are used up comes last", "[bootfind]") {
  CHECK(first_id({entry("id-2+0-3.conf"), entry("id-1+2-1.conf")}) == "id-1");
}

TEST_CASE("BLS: the wanted entry is found by name, by pattern and by saved_entry", "[bootfind]") {
  const std::vector<BlsFile> files = {entry("id-1.conf"), entry("id-2.conf"), entry("arch.conf")};
  CHECK(first_id(files, "id-1") == "id-1");
  CHECK(first_id(files, "id-1.conf") == "id-1");
  CHECK(first_id(files, "arch*") == "arch");
  CHECK(first_id(files, "gone") == "id-2");
  CHECK(loader_conf_default("timeout 3\n#default x\ndefault  arch.conf\n") == "arch.conf");
  CHECK(loader_conf_default("default @saved\n").empty());
}

TEST_CASE("BLS: entries for other machines, EFI programs and other files are left out",
          "[bootfind]") {
  CHECK(first_id({entry("a.conf", "architecture aa64\n"),
                  {"b.conf", "title x\nefi /shell.efi\n"},
                  entry("c.conf.rpmsave"),
                  entry(".conf")}) == "none");
  CHECK(first_id({entry("a.conf", "architecture x64\n")}) == "a");
}

}  // namespace vmm::bootfind
