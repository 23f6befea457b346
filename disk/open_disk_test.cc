// SPDX-License-Identifier: Apache-2.0
#include "disk/open_disk.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "disk/file_storage.h"
#include "disk/qcow/create.h"
#include "disk/statistics.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

class Directory {
 public:
  Directory() { REQUIRE(::mkdtemp(path_) != nullptr); }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return std::string(path_) + "/" + name; }

 private:
  char path_[32] = "/tmp/vmm-open-disk-XXXXXX";
};

class Images {
 public:
  // An image that is qcow2 by its bytes, whatever its name says.
  void make(const std::string& path, const std::string& backing, const std::string& backing_format,
            const std::string& data_file = "") {
    FileOptions create;
    create.create = true;
    auto file = FileStorage::open(*loop_, path, create);
    REQUIRE(file);
    qcow::FormatOptions format;
    format.size = 1 << 20;
    format.backing_file = backing;
    format.backing_format = backing_format;
    format.data_file = data_file;
    REQUIRE(loop_->run_until(qcow::format_image(**file, format)));
  }

  // "", or why it was refused.
  std::string open(const std::string& path, std::optional<Format> format = std::nullopt,
                   bool no_follow = false) {
    DiskOptions options;
    options.path = path;
    options.format = format;
    options.backing = BackingPolicy::kOpenIfTold;
    options.no_follow = no_follow;
    Result<std::unique_ptr<Disk>> disk = loop_->run_until(open_disk(*loop_, options));
    if (!disk) return disk.error().message();
    REQUIRE(loop_->run_until((*disk)->close()));
    return "";
  }

 private:
  std::unique_ptr<EventLoop> loop_ = *EventLoop::create();
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("A guest that writes a qcow2 header into its raw disk does not get the host's files",
          "[disk]") {
  Directory directory;
  Images images;
  const std::string secret = directory / "secret";
  std::ofstream(secret) << std::string(65536, 's');

  const std::string raw_disk = directory / "disk.img";
  images.make(raw_disk, secret, "raw");
  CHECK(contains(images.open(raw_disk), "names a backing file ('" + secret + "')"));
  CHECK(contains(images.open(raw_disk), "give format=qcow2"));
  images.make(raw_disk, "", "", secret);
  CHECK(contains(images.open(raw_disk), "names an external data file"));
  // Nothing was written to it either.
  CHECK(std::filesystem::file_size(secret) == 65536);

  CHECK(images.open(raw_disk, Format::kRaw).empty());
}

TEST_CASE("A qcow2 image that was called one may have a backing file", "[disk]") {
  Directory directory;
  Images images;
  const std::string base = directory / "base.img";
  std::ofstream(base) << std::string(65536, 'b');
  images.make(directory / "overlay.img", base, "raw");
  CHECK(images.open(directory / "overlay.img", Format::kQcow2).empty());
  images.make(directory / "overlay.qcow2", base, "raw");
  CHECK(images.open(directory / "overlay.qcow2").empty());
}

TEST_CASE("With nofollow neither an image nor a file that it names is a symbolic link", "[disk]") {
  Directory directory;
  Images images;
  const std::string base = directory / "base.img";
  std::ofstream(base) << std::string(65536, 'b');
  std::filesystem::create_symlink(base, directory / "link.img");
  CHECK(images.open(directory / "link.img", Format::kRaw).empty());
  CHECK(images.open(base, Format::kRaw, true).empty());
  CHECK(contains(images.open(directory / "link.img", Format::kRaw, true), "is a symbolic link"));

  images.make(directory / "overlay.qcow2", directory / "link.img", "raw");
  CHECK(images.open(directory / "overlay.qcow2").empty());
  CHECK(contains(images.open(directory / "overlay.qcow2", std::nullopt, true),
                 "link.img: is a symbolic link"));
}

TEST_CASE("A backing file of unknown format names no further files", "[disk]") {
  Directory directory;
  Images images;
  const std::string secret = directory / "secret";
  std::ofstream(secret) << std::string(65536, 's');
  images.make(directory / "middle.img", secret, "raw");
  images.make(directory / "top.qcow2", directory / "middle.img", "");
  CHECK(contains(images.open(directory / "top.qcow2"), "names a backing file ('" + secret + "')"));
  images.make(directory / "top.qcow2", directory / "middle.img", "qcow2");
  CHECK(images.open(directory / "top.qcow2").empty());
}

// How many bytes of a raw file of 1 MiB have space after `change`.
template <class Change>
std::uint64_t space_after(DiskOptions options, Change change) {
  Directory directory;
  options.path = directory / "raw";
  options.format = Format::kRaw;
  std::ofstream(options.path) << std::string(1 << 20, 'x');
  const std::unique_ptr<EventLoop> loop = *EventLoop::create();
  auto disk = loop->run_until(open_disk(*loop, options));
  REQUIRE(disk);
  REQUIRE(loop->run_until(change(**disk)));
  REQUIRE(loop->run_until((*disk)->close()));
  disk->reset();
  FileOptions look;
  look.read_only = true;
  return (*FileStorage::open(*loop, options.path, look))->allocated_size();
}

TEST_CASE("discard=ignore leaves a raw image's space alone, discard=unmap gives it back",
          "[disk]") {
  const auto change = [](Disk& disk) { return disk.discard(0, 512 << 10); };
  DiskOptions options;
  CHECK(space_after(options, change) <= 768 << 10);
  options.discard = false;
  CHECK(space_after(options, change) >= 1 << 20);
}

TEST_CASE("detect-zeroes gives back the space of zeros that a guest writes", "[disk]") {
  const std::string zeros(512 << 10, '\0');
  iovec iov{const_cast<char*>(zeros.data()), zeros.size()};
  const auto change = [&](Disk& disk) { return disk.writev(0, IoVec(&iov, 1)); };
  DiskOptions options;
  CHECK(space_after(options, change) >= 1 << 20);
  options.detect_zeroes = true;
  CHECK(space_after(options, change) <= 768 << 10);
}

TEST_CASE("A raw image refuses the sizes of caches it does not have", "[disk]") {
  Directory directory;
  DiskOptions options;
  options.path = directory / "raw";
  options.l2_cache_size = 1 << 20;
  std::ofstream(options.path) << std::string(1 << 20, 'x');
  const std::unique_ptr<EventLoop> loop = *EventLoop::create();
  const auto disk = loop->run_until(open_disk(*loop, options));
  REQUIRE_FALSE(disk);
  CHECK(contains(disk.error().message(), "only qcow2 has caches"));
}

TEST_CASE("cache_statistics: a qcow2 disk counts while it is used, a raw one has no cache",
          "[disk]") {
  Directory directory;
  Images images;
  images.make(directory / "a.qcow2", "", "");
  const std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::vector<char> buffer(4096, 'x');
  const iovec whole{buffer.data(), buffer.size()};
  for (Format format : {Format::kQcow2, Format::kRaw}) {
    DiskOptions options;
    options.path = directory / "a.qcow2";
    options.format = format;
    options.read_only = format == Format::kRaw;
    auto disk = loop->run_until(open_disk(*loop, options));
    REQUIRE(disk);
    REQUIRE(loop->run_until((*disk)->readv(0, IoVec(&whole, 1))));
    if (format == Format::kRaw) {
      CHECK(cache_statistics(**disk).empty());
    } else {
      REQUIRE(loop->run_until((*disk)->writev(0, IoVec(&whole, 1))));
      REQUIRE(loop->run_until((*disk)->writev(4096, IoVec(&whole, 1))));
      const std::vector<CacheStatistics> caches = cache_statistics(**disk);
      REQUIRE(caches.size() == 2);
      CHECK(std::string(caches[0].name) == "l2");
      CHECK(caches[0].size_bytes > 0);
      CHECK(caches[0].hits > 0);
      CHECK(std::string(caches[1].name) == "refcount");
      CHECK(caches[1].hits + caches[1].misses > 0);
    }
    REQUIRE(loop->run_until((*disk)->close()));
  }
}

}  // namespace
}  // namespace vmm::disk
