// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/qcow_disk.h"

#include "disk/testing/qcow_fixture.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

TEST_CASE("QcowDisk: what was written is read again, in this session and the next", "[qcow]") {
  for (std::uint32_t version : {2u, 3u}) {
    for (std::uint64_t cluster_size : {512u, 4096u, 65536u, 2097152u}) {
      QcowFixture image;
      image.format({.size = 20 * kMiB + 512, .version = version, .cluster_size = cluster_size});
      image.open();
      CHECK(image.disk->size() == 20 * kMiB + 512);
      image.write(0, 100, 1);
      image.write(65000, 3 * 65536, 2);
      image.write(20 * kMiB, 512, 3);
      image.write(70000, 10, 4);
      for (int round = 0; round < 2; ++round) {
        CAPTURE(version, cluster_size, round);
        CHECK(image.holds(0, 100, 1));
        CHECK(image.holds(100, 64900, 0));
        CHECK(image.holds(65000, 5000, 2));
        CHECK(image.holds(70000, 10, 4));
        CHECK(image.holds(70010, 65000 + 3 * 65536 - 70010, 2));
        CHECK(image.holds(20 * kMiB, 512, 3));
        CHECK(image.holds(kMiB, 19 * kMiB, 0));
        if (round == 0) {
          image.close();
          image.open();
        }
      }
      image.close();
    }
  }
}

TEST_CASE("QcowDisk: requests beyond the end fail and change nothing", "[qcow]") {
  QcowFixture image;
  image.format({.size = kMiB});
  image.open();
  Result<void> written = image.try_write(kMiB - 512, std::vector<std::byte>(1024));
  REQUIRE(!written);
  CHECK(written.error().kind() == ErrorKind::kOutOfRange);
  written = image.try_write(~std::uint64_t{0} - 100, std::vector<std::byte>(512));
  REQUIRE(!written);
  image.close();
}

TEST_CASE("QcowDisk: opening and closing an image changes no byte of it", "[qcow]") {
  QcowFixture image;
  image.format({.size = 10 * kMiB, .lazy_refcounts = true});
  image.open();
  image.write(kMiB, kMiB, 7);
  image.close();
  const std::vector<std::byte> before = image.bytes->data;
  image.open();
  CHECK(image.disk->header().has(Compatible::kLazyRefcounts));
  CHECK(image.holds(kMiB, kMiB, 7));
  image.close();
  CHECK((before == image.bytes->data));
}

TEST_CASE("QcowDisk: autoclear bits are cleared by a writable open and by no other", "[qcow]") {
  QcowFixture image;
  image.format({.size = kMiB});
  image.bytes->data[95] = std::byte{0x81};  // the last byte of autoclear_features
  image.open({.read_only = true});
  image.close();
  CHECK(image.bytes->data[95] == std::byte{0x81});
  image.open();
  image.close();
  CHECK(image.bytes->data[95] == std::byte{0});
}

TEST_CASE("QcowDisk: discarded clusters are used again, and only after a flush", "[qcow]") {
  QcowFixture image;
  image.format({.size = 64 * kMiB});
  image.open();
  image.write(0, 16 * kMiB, 1);
  QcowFixture::require(image.loop->run_until(image.disk->flush()));
  const std::size_t full = image.bytes->data.size();
  for (int round = 0; round < 8; ++round) {
    QcowFixture::require(image.loop->run_until(image.disk->discard(0, 16 * kMiB)));
    CHECK(image.holds(0, 16 * kMiB, 0));
    for (int flush = 0; flush < 3; ++flush) {
      QcowFixture::require(image.loop->run_until(image.disk->flush()));
    }
    image.write(0, 16 * kMiB, static_cast<unsigned char>(round + 2));
  }
  CHECK(image.bytes->data.size() <= full + 65536);
  CHECK(image.holds(0, 16 * kMiB, 9));
  image.close();
}

TEST_CASE("QcowDisk: zeroes may keep their cluster, and a write uses it again", "[qcow]") {
  QcowFixture image;
  image.format({.size = 8 * kMiB});
  image.open();
  image.write(0, kMiB, 5);
  const std::size_t before = image.bytes->data.size();
  QcowFixture::require(
      image.loop->run_until(image.disk->write_zeroes(1000, 500000, ZeroMode::kKeepAllocated)));
  CHECK(image.holds(0, 1000, 5));
  CHECK(image.holds(1000, 500000, 0));
  CHECK(image.holds(501000, kMiB - 501000, 5));
  image.write(70000, 100, 6);
  CHECK(image.holds(69000, 1000, 0));
  CHECK(image.holds(70000, 100, 6));
  CHECK(image.holds(70100, 1000, 0));
  CHECK(image.bytes->data.size() == before);
  image.close();
}

TEST_CASE("QcowDisk: a guest write onto a table is refused and marks the image corrupt", "[qcow]") {
  QcowFixture image;
  image.format({.size = 8 * kMiB});
  image.open();
  image.write(0, 65536, 1);
  image.close();
  const std::uint64_t l2 =
      load_be<std::uint64_t>(image.bytes->data.data() + 3 * 65536) & kOffsetMask;
  // The first cluster's entry points to the refcount block.
  store_be<std::uint64_t>(image.bytes->data.data() + l2, kCopied | 2 * 65536);
  image.open();
  const std::vector<std::byte> before(image.bytes->data.begin() + 65536, image.bytes->data.end());
  Result<void> written = image.try_write(0, std::vector<std::byte>(512));
  REQUIRE(!written);
  CHECK(written.error().kind() == ErrorKind::kCorrupt);
  written = image.try_write(kMiB, std::vector<std::byte>(512));
  CHECK(!written);
  CHECK(image.holds(kMiB, 512, 0));  // still read
  image.close();
  CHECK((before ==
         std::vector<std::byte>(image.bytes->data.begin() + 65536, image.bytes->data.end())));
  Result<std::unique_ptr<QcowDisk>> again = image.try_open();
  REQUIRE(!again);
  CHECK(again.error().kind() == ErrorKind::kCorrupt);
  image.open({.read_only = true});
  image.close();
}

TEST_CASE("QcowDisk: an unknown incompatible feature is refused by the name the image gives it",
          "[qcow]") {
  QcowFixture image;
  image.format({.size = kMiB});
  image.bytes->data[79] = std::byte{0x20};  // bit 5
  Result<std::unique_ptr<QcowDisk>> opened = image.try_open({.read_only = true});
  REQUIRE(!opened);
  CHECK(opened.error().message().find("incompatible feature bit 5") != std::string::npos);
}

}  // namespace
}  // namespace vmm::disk::qcow
