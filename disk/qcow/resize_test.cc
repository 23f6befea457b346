// SPDX-License-Identifier: Apache-2.0
// The size, and operations of tools in the middle of which tables grow.
#include <functional>

#include "disk/raw_disk.h"
#include "disk/testing/qcow_fixture.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

std::unique_ptr<Disk> backing_of(EventLoop& loop, std::uint64_t size, unsigned char value) {
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  bytes->data.assign(size, std::byte{value});
  return std::make_unique<RawDisk>(std::make_unique<MemoryStorage>(loop, bytes, 0, 1, true));
}

TEST_CASE("QcowDisk: a resize for which the refcount table grows leaves a sound image", "[qcow]") {
  QcowFixture image;
  image.format({.size = kMiB, .cluster_size = 512});
  image.open();
  image.write(0, 64 * kKiB, 7);
  const HostOffset table = image.disk->header().refcount_table_offset;
  QcowFixture::require(image.try_resize(40 * 1024 * kMiB));
  CHECK(image.disk->header().refcount_table_offset != table);
  image.close();
  CHECK(image.sound());
  image.open();
  CHECK(image.disk->size() == 40 * 1024 * kMiB);
  CHECK(image.holds(0, 64 * kKiB, 7));
  image.close();
}

// The operation, on images whose file ends a few clusters before its refcount table is full.
void across_the_limit(const std::function<Result<void>(QcowFixture&)>& change) {
  bool grew = false;
  for (std::uint64_t spare = 0; spare < 24; ++spare) {
    CAPTURE(spare);
    QcowFixture image;
    // One cluster of the table is for 2 MiB of the file: 64 blocks of 64 clusters.
    image.format({.size = 3 * kMiB, .cluster_size = 512, .refcount_bits = 64});
    image.open();
    std::uint64_t end = 0;
    for (; image.bytes->data.size() + spare * 512 + 2048 < 2 * kMiB; end += 512) {
      image.write(end, 512, 7);
    }
    QcowFixture::require(image.try_snapshot("before"));
    const HostOffset table = image.disk->header().refcount_table_offset;
    QcowFixture::require(change(image));
    grew |= image.disk->header().refcount_table_offset != table;
    image.close();
    REQUIRE(image.sound());
    image.open();
    for (const Snapshot& snapshot : std::vector<Snapshot>(image.disk->snapshots())) {
      QcowFixture::require(image.loop->run_until(image.disk->apply_snapshot(snapshot.id)));
      CHECK(image.holds(0, end, 7));
    }
    image.close();
    REQUIRE(image.sound());
  }
  CHECK(grew);
}

TEST_CASE("QcowDisk: the refcount table may grow while a snapshot is made", "[qcow]") {
  across_the_limit([](QcowFixture& image) { return image.try_snapshot("new"); });
}

TEST_CASE("QcowDisk: the refcount table may grow while a snapshot is applied", "[qcow]") {
  across_the_limit([](QcowFixture& image) {
    return image.loop->run_until(image.disk->apply_snapshot("before"));
  });
}

TEST_CASE("QcowDisk: the refcount table may grow while a snapshot is deleted", "[qcow]") {
  across_the_limit([](QcowFixture& image) {
    Result<void> made = image.try_snapshot("other");
    if (!made) return made;
    return image.loop->run_until(image.disk->delete_snapshot("other"));
  });
}

TEST_CASE("QcowDisk: the refcount table may grow while the disk does", "[qcow]") {
  across_the_limit([](QcowFixture& image) { return image.try_resize(8 * kMiB); });
}

TEST_CASE("QcowDisk: the refcount table may grow while the image is emptied", "[qcow]") {
  across_the_limit(
      [](QcowFixture& image) { return image.loop->run_until(image.disk->make_empty()); });
}

// Sets the virtual size in the header, as a program does that leaves what lies behind it.
void cut(QcowFixture& image, std::uint64_t size) {
  store_be<std::uint64_t>(image.bytes->data.data() + 24, size);
}

TEST_CASE("QcowDisk: what a disk gains reads as zeros, whatever lay behind its end", "[qcow]") {
  for (const bool extended : {false, true}) {
    for (const bool shared : {false, true}) {
      for (const std::uint64_t end : {std::uint64_t{512}, 100 * kKiB, 100 * kKiB + 512}) {
        CAPTURE(extended, shared, end);
        QcowFixture image;
        image.format({.size = kMiB, .cluster_size = 16384, .extended_l2 = extended});
        image.open();
        image.write(0, kMiB, 7);
        if (shared) QcowFixture::require(image.try_snapshot("s"));
        image.close();
        cut(image, end);
        image.open();
        QcowFixture::require(image.try_resize(2 * kMiB));
        for (int round = 0; round < 2; ++round) {
          CHECK(image.holds(0, end, 7));
          CHECK(image.holds(end, 2 * kMiB - end, 0));
          image.close();
          CHECK(image.sound());
          image.open();
        }
        if (shared) {
          QcowFixture::require(image.loop->run_until(image.disk->apply_snapshot("s")));
          CHECK(image.holds(0, kMiB, 7));
        }
        image.close();
      }
    }
  }
}

TEST_CASE("QcowDisk: a disk that shrinks and grows again has lost what was cut off", "[qcow]") {
  for (const std::uint32_t version : {2u, 3u}) {
    for (const bool discard : {false, true}) {
      for (const std::uint64_t backing : {std::uint64_t{0}, 300 * kKiB, kMiB, 3 * kMiB}) {
        CAPTURE(version, discard, backing);
        QcowFixture image;
        image.format({.size = kMiB,
                      .version = version,
                      .cluster_size = 4096,
                      .backing_file = backing > 0 ? "base" : ""});
        const auto open = [&] {
          image.open({.discard = discard},
                     backing > 0 ? backing_of(*image.loop, backing, 5) : nullptr);
        };
        open();
        image.write(0, kMiB, 7);
        QcowFixture::require(image.try_resize(200 * kKiB + 512));
        image.close();
        CHECK(image.sound());
        open();
        QcowFixture::require(image.try_resize(2 * kMiB));
        CHECK(image.holds(0, 200 * kKiB + 512, 7));
        CHECK(image.holds(200 * kKiB + 512, 2 * kMiB - 200 * kKiB - 512, 0));
        image.close();
        CHECK(image.sound());
      }
    }
  }
}

TEST_CASE("QcowDisk: a snapshot over the backing file is named", "[qcow]") {
  QcowFixture image;
  image.format({.size = kMiB, .cluster_size = 4096, .backing_file = "base"});
  image.open({}, backing_of(*image.loop, 64 * kKiB, 5));
  image.write(0, 60 * kKiB, 7);
  QcowFixture::require(image.try_snapshot("partly"));
  Result<std::optional<std::string>> over =
      image.loop->run_until(image.disk->snapshot_over_backing());
  REQUIRE(over);
  CHECK(over->value_or("none") == "partly");
  QcowFixture::require(image.loop->run_until(image.disk->delete_snapshot("partly")));
  image.write(60 * kKiB, 4 * kKiB, 7);
  QcowFixture::require(image.try_snapshot("whole"));
  over = image.loop->run_until(image.disk->snapshot_over_backing());
  REQUIRE(over);
  CHECK(over->value_or("none") == "none");
  image.close();
}

TEST_CASE("QcowDisk: a cluster that was cut off with the file's end is an error, not zeros",
          "[qcow]") {
  QcowFixture image;
  image.format({.size = kMiB, .cluster_size = 4096});
  image.open();
  image.write(0, 64 * kKiB, 7);
  image.close();
  std::vector<std::byte> whole = image.bytes->data;
  image.bytes->data.resize(whole.size() - 8 * kKiB - 512);
  image.open({.read_only = true});
  CHECK(image.holds(0, 52 * kKiB, 7));
  for (const std::uint64_t length : {std::uint64_t{512}, 4 * kKiB, 8 * kKiB}) {
    std::vector<std::byte> bytes(length);
    iovec iov = as_iovec(std::span<std::byte>(bytes));
    const Result<void> read =
        image.loop->run_until(image.disk->readv(64 * kKiB - length, IoVec(&iov, 1)));
    REQUIRE(!read);
    CHECK(read.error().os_errno() == EIO);
  }
  image.close();
}

}  // namespace
}  // namespace vmm::disk::qcow
