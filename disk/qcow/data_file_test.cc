// SPDX-License-Identifier: Apache-2.0
// Images that keep guest data in another file, which may be a block device in use before.
#include "disk/testing/qcow_fixture.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

FormatOptions with_data_file(bool raw) {
  return {.size = kMiB, .cluster_size = 4096, .data_file = "data", .data_file_raw = raw};
}

TEST_CASE("Data file: a snapshot is refused, and not a byte is written", "[qcow]") {
  for (const bool raw : {false, true}) {
    QcowFixture image;
    image.format(with_data_file(raw));
    image.open();
    image.write(0, 64 * kKiB, 7);
    image.flush();
    const std::vector<std::byte> before = image.bytes->data;
    const Result<void> made = image.try_snapshot("s");
    REQUIRE(!made);
    CHECK(made.error().kind() == ErrorKind::kUnsupported);
    CHECK(made.error().message().find("data file") != std::string::npos);
    CHECK((image.bytes->data == before));
    image.close();
    CHECK(image.sound());
  }
}

TEST_CASE("Data file: a raw one is cut where the disk is, and grows with zeros", "[qcow]") {
  for (const bool raw : {false, true}) {
    for (const bool device : {false, true}) {
      CAPTURE(raw, device);
      QcowFixture image;
      if (device) {
        image.data = MemoryStorage::used_device(2 * kMiB);
      } else {
        image.data->data.resize(kMiB);
      }
      image.format(with_data_file(raw));
      image.open();
      image.write(0, kMiB, 7);
      QcowFixture::require(image.try_resize(300 * kKiB + 512));
      CHECK(image.data->data.size() == (device ? 2 * kMiB : 300 * kKiB + 512));
      QcowFixture::require(image.try_resize(2 * kMiB));
      CHECK(image.holds(0, 300 * kKiB + 512, 7));
      CHECK(image.holds(300 * kKiB + 512, 2 * kMiB - 300 * kKiB - 512, 0));
      image.close();
      CHECK(image.sound());
      if (!raw) continue;
      std::vector<std::byte> expected(2 * kMiB);
      std::fill_n(expected.begin(), 300 * kKiB + 512, std::byte{7});
      CHECK((image.data->data == expected));
    }
  }
}

TEST_CASE("Data file: a device that is too small is said before anything is written", "[qcow]") {
  QcowFixture image;
  image.data = MemoryStorage::used_device(kMiB);
  image.format(with_data_file(true));
  image.open();
  const std::vector<std::byte> before = image.bytes->data;
  CHECK(!image.try_resize(kMiB + 512));
  CHECK((image.bytes->data == before));
  CHECK(image.disk->size() == kMiB);
  image.close();
}

TEST_CASE("Data file: where it is raw there can be no backing file", "[qcow]") {
  QcowFixture image;
  image.format(with_data_file(true));
  image.open();
  const std::vector<std::byte> before = image.bytes->data;
  CHECK(!image.loop->run_until(image.disk->set_backing("base", "raw")));
  CHECK((image.bytes->data == before));
  QcowFixture::require(image.loop->run_until(image.disk->set_backing("", "")));
  image.close();
}

TEST_CASE("Data file: preallocation makes zeros of what a device held", "[qcow]") {
  for (const bool full : {false, true}) {
    QcowFixture image;
    image.data = MemoryStorage::used_device(kMiB);
    image.format(with_data_file(true));
    image.open();
    QcowFixture::require(image.loop->run_until(image.disk->preallocate(0, !full, full)));
    CHECK(image.holds(0, kMiB, 0));
    CHECK((image.data->data == std::vector<std::byte>(kMiB)));
    image.close();
  }
}

}  // namespace
}  // namespace vmm::disk::qcow
