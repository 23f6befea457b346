// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/bootfind.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "disk/open_disk.h"
#include "vmm/bootfind/testing/images.h"
#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

OpenSource opener(const std::string& image) {
  return [path = image_path(image)]() -> Result<std::unique_ptr<Source>> {
    return std::unique_ptr<Source>(std::make_unique<FileSource>(path));
  };
}

std::string contents(const UniqueFd& fd) {
  std::string text(1000, '\0');
  const ssize_t got = ::pread(fd.get(), text.data(), text.size(), 0);
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return text;
}

class EndlessSource : public Source {
 public:
  std::uint64_t size() const override { return 1ULL << 40; }
  Result<void> read(std::uint64_t, std::span<std::byte>) override {
    while (true) ::poll(nullptr, 0, 1000);
  }
};

}  // namespace

TEST_CASE("find_boot: kernel and initrd come as sealed files, with the entry's command line",
          "[bootfind]") {
  Result<BootChoice> choice = find_boot(opener("debian-gpt.img"), {});
  INFO((choice ? "" : choice.error().message()));
  REQUIRE(choice.has_value());
  CHECK(contents(choice->kernel) == "kernel 6.1.0-18-amd64 in boot\n");
  CHECK(contents(choice->initrd) == "initrd 6.1.0-18-amd64 in boot\n");
  CHECK(choice->command_line == "root=UUID=11111111-2222-3333-4444-555555555555 ro quiet");
  CHECK(choice->description ==
        "\"Debian GNU/Linux\" (partition 2 (ext4), /boot/grub/grub.cfg): "
        "/boot/vmlinuz-6.1.0-18-amd64");
  for (const UniqueFd* fd : {&choice->kernel, &choice->initrd}) {
    CHECK(::fcntl(fd->get(), F_GET_SEALS) ==
          (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
    CHECK(::pwrite(fd->get(), "x", 1, 0) < 0);
  }
}

TEST_CASE("find_boot: a qcow2 image is read like a raw one", "[bootfind]") {
  const std::string raw = image_path("debian-gpt.img"), qcow2 = image_path("debian-gpt.qcow2");
  REQUIRE(std::system(("qemu-img convert -q -f raw -O qcow2 -c " + raw + " " + qcow2).c_str()) ==
          0);
  for (const std::string& path : {raw, qcow2}) {
    disk::DiskOptions options;
    options.path = path;
    Result<BootChoice> choice = find_boot([&] { return DiskSource::open(options); }, {});
    INFO(path << ": " << (choice ? "" : choice.error().message()));
    REQUIRE(choice.has_value());
    CHECK(contents(choice->initrd) == "initrd 6.1.0-18-amd64 in boot\n");
  }
  disk::DiskOptions missing;
  missing.path = raw + ".missing";
  Result<BootChoice> choice = find_boot([&] { return DiskSource::open(missing); }, {});
  REQUIRE_FALSE(choice.has_value());
  CHECK(choice.error().message().find(missing.path) == 0);
  CHECK(choice.error().kind() != ErrorKind::kNotFound);
}

TEST_CASE("find_boot: an entry without initrd has none", "[bootfind]") {
  BootOptions options;
  options.entry = "vmlinuz-5.10.0";
  Result<BootChoice> choice = find_boot(opener("plain.img"), options);
  REQUIRE(choice.has_value());
  CHECK_FALSE(choice->initrd);
  CHECK(contents(choice->kernel) == "kernel without initrd\n");
}

TEST_CASE("find_boot: no kernel on the disk is kNotFound, so that the caller can go on",
          "[bootfind]") {
  Result<BootChoice> choice = find_boot(opener("empty.img"), {});
  REQUIRE_FALSE(choice.has_value());
  CHECK(choice.error().kind() == ErrorKind::kNotFound);
  CHECK(choice.error().message().find("no kernel was found on the disk (looked at:") == 0);
}

TEST_CASE("find_boot: a disk that never answers is given up", "[bootfind]") {
  BootOptions options;
  options.time_limit = std::chrono::milliseconds(300);
  Result<BootChoice> choice = find_boot(
      []() -> Result<std::unique_ptr<Source>> {
        return std::unique_ptr<Source>(new EndlessSource);
      },
      options);
  REQUIRE_FALSE(choice.has_value());
  CHECK(choice.error().message() ==
        "the search for a kernel on the disk was not done after 0.3 seconds; give one with -k");
}

TEST_CASE("find_boot: an image that cannot be opened is the opener's own error", "[bootfind]") {
  Result<BootChoice> choice = find_boot(
      []() -> Result<std::unique_ptr<Source>> {
        return fail(ErrorKind::kBusy, "disk.qcow2: in use by process 7");
      },
      {});
  REQUIRE_FALSE(choice.has_value());
  CHECK(choice.error().kind() == ErrorKind::kBusy);
  CHECK(choice.error().message() == "disk.qcow2: in use by process 7");
}

TEST_CASE("list_boot: shows every entry and marks the default", "[bootfind]") {
  Result<std::vector<BootEntry>> entries = list_boot(opener("fedora.img"), {});
  REQUIRE(entries.has_value());
  REQUIRE(entries->size() == 2);
  const std::string text = format_list(*entries);
  CHECK(text.find("  1  Fedora Linux (6.8.1-300.fc39.x86_64) 39\n") == 0);
  CHECK(text.find("* 2  Fedora Linux (6.5.6-300.fc39.x86_64) 39\n"
                  "      id       0123-6.5.6-300.fc39.x86_64\n"
                  "      found in partition 1 (ext4), /loader/entries\n"
                  "      kernel   /vmlinuz-6.5.6-300.fc39.x86_64\n"
                  "      initrd   /initrd.img-6.5.6-300.fc39.x86_64\n") != std::string::npos);
}

}  // namespace vmm::bootfind
