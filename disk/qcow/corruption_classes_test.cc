// SPDX-License-Identifier: Apache-2.0
// The ways in which other programs were seen to destroy images, one test each.
#include <random>

#include "disk/qcow/compressed.h"
#include "disk/raw_disk.h"
#include "disk/testing/qcow_fixture.h"
#include "vmm/core/byte_order.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kCluster = 65536;

// A base of `size` bytes that hold `value`.
std::unique_ptr<Disk> base_of(QcowFixture& image, std::uint64_t size, unsigned char value) {
  auto bytes = std::make_shared<MemoryStorage::Bytes>();
  bytes->data.assign(size, std::byte{value});
  return std::make_unique<RawDisk>(
      std::make_unique<MemoryStorage>(*image.loop, bytes, 3, 1, /*read_only=*/true));
}

Task<void> write_sector(QcowDisk& disk, std::uint64_t offset, unsigned char value, int& failures) {
  std::vector<std::byte> data(512, std::byte{value});
  iovec iov = as_iovec(std::span<std::byte>(data));
  Result<void> done = co_await disk.writev(offset, IoVec(&iov, 1));
  if (!done) ++failures;
}

TEST_CASE("Class A: no L2 entry reaches the file before its refcount, at any write of a flush",
          "[qcow]") {
  QcowFixture image;
  image.format({.size = 64 * kMiB, .cluster_size = 4096});
  image.open();
  image.write(0, kMiB, 1);
  image.write(40 * kMiB, kMiB, 2);
  // The file as each sync of the flush finds it.
  std::vector<std::vector<std::byte>> states;
  std::uint64_t seen = image.bytes->nr_writes;
  Task<Result<void>> flush = image.disk->flush();
  states.push_back(image.bytes->data);
  CHECK(image.bytes->nr_writes > seen);
  QcowFixture::require(image.loop->run_until(std::move(flush)));
  states.push_back(image.bytes->data);
  for (const std::vector<std::byte>& state : states) {
    QcowFixture crashed;
    crashed.bytes->data = state;
    CHECK(crashed.check().corruptions == 0);
  }
  image.close();
  CHECK(image.sound());
}

TEST_CASE("Class B: a late hole never erases a cluster that is in use again", "[qcow]") {
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    QcowFixture image(8, seed);
    image.format({.size = 4 * kMiB});
    image.open();
    Gate gate(*image.loop);
    for (int round = 0; round < 20; ++round) {
      const std::uint64_t at = (seed + static_cast<std::uint64_t>(round) * 7) % 60 * kCluster;
      image.write(at, kCluster, static_cast<unsigned char>(round + 1));
      Task<Result<void>> discard = image.disk->discard(at, kCluster);
      QcowFixture::require(image.loop->run_until(std::move(discard)));
      image.flush();
      const std::uint64_t other = (at + 4 * kCluster) % (4 * kMiB);
      image.write(other, kCluster, 200);
      image.flush();
      image.flush();
      CHECK(image.holds(other, kCluster, 200));
      CHECK(image.holds(at, kCluster, 0));
    }
    image.close();
    CHECK(image.sound());
  }
}

TEST_CASE("Class C: queues that allocate in one L2 table at once share it", "[qcow]") {
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    QcowFixture image(6, seed);
    image.format({.size = 64 * kMiB});
    image.open();
    Gate queues[2] = {Gate(*image.loop), Gate(*image.loop)};
    int failures = 0;
    for (unsigned i = 0; i < 64; ++i) {
      spawn(queues[i % 2],
            write_sector(*image.disk, i * kCluster, static_cast<unsigned char>(i), failures));
    }
    for (Gate& queue : queues) image.loop->run_until(queue.close());
    CHECK(failures == 0);
    image.close();
    CHECK(image.sound());
    CHECK(image.check().allocated_clusters == 64);
    image.open({.read_only = true});
    for (unsigned i = 0; i < 64; ++i) {
      CHECK(image.holds(i * kCluster, 512, static_cast<unsigned char>(i)));
    }
    image.close();
  }
}

TEST_CASE("Class D: writes at once to one unallocated cluster over a backing file all stay",
          "[qcow]") {
  for (std::uint64_t seed = 1; seed < 10; ++seed) {
    QcowFixture image(6, seed);
    image.format({.size = 2 * kMiB, .backing_file = "base", .backing_format = "raw"});
    image.open({}, base_of(image, 2 * kMiB, 0x77));
    Gate gate(*image.loop);
    int failures = 0;
    // Every second sector of two clusters.
    for (unsigned i = 0; i < 128; ++i) {
      spawn(gate, write_sector(*image.disk, 5 * kCluster + i * 1024, static_cast<unsigned char>(i),
                               failures));
    }
    image.loop->run_until(gate.close());
    CHECK(failures == 0);
    for (unsigned i = 0; i < 128; ++i) {
      CHECK(image.holds(5 * kCluster + i * 1024, 512, static_cast<unsigned char>(i)));
      CHECK(image.holds(5 * kCluster + i * 1024 + 512, 512, 0x77));
    }
    image.close();
    CHECK(image.sound());
    CHECK(image.check().allocated_clusters == 2);
  }
}

void write_packed(QcowFixture& image, std::uint64_t offset, unsigned char first) {
  std::vector<std::byte> cluster(kCluster);
  std::mt19937 random(first);
  // Half of it random, so that several share a host cluster and straddle two.
  for (std::size_t i = 0; i < kCluster / 2; ++i) cluster[i] = static_cast<std::byte>(random());
  cluster[0] = std::byte{first};
  std::vector<std::byte> packed(kCluster);
  Result<std::size_t> size = compress(image.disk->header().compression_type, cluster, packed);
  QcowFixture::require(size);
  REQUIRE(*size > 0);
  iovec iov = as_iovec(std::span<std::byte>(cluster));
  QcowFixture::require(image.loop->run_until(
      image.disk->write_compressed(offset, std::span(packed).first(*size), IoVec(&iov, 1))));
}

TEST_CASE("Class E: freeing one compressed cluster leaves its neighbours in the same sectors alone",
          "[qcow]") {
  for (CompressionType type : {CompressionType::kZlib, CompressionType::kZstd}) {
    QcowFixture image;
    image.format({.size = 4 * kMiB, .compression_type = type});
    image.open();
    for (unsigned i = 0; i < 30; ++i)
      write_packed(image, i * kCluster, static_cast<unsigned char>(i));
    image.flush();
    for (unsigned i = 0; i < 30; i += 3) image.write(i * kCluster, kCluster, 0xaa);
    for (unsigned i = 1; i < 30; i += 3) {
      QcowFixture::require(image.loop->run_until(image.disk->discard(i * kCluster, kCluster)));
    }
    for (int i = 0; i < 3; ++i) image.flush();
    image.write(3 * kMiB, kMiB, 0xbb);
    for (int session = 0; session < 2; ++session) {
      for (unsigned i = 0; i < 30; ++i) {
        if (i % 3 == 0) CHECK(image.holds(i * kCluster, kCluster, 0xaa));
        if (i % 3 == 1) CHECK(image.holds(i * kCluster, kCluster, 0));
        if (i % 3 == 2) {
          CHECK(image.read(i * kCluster, 1)[0] == static_cast<std::byte>(i));
          CHECK(image.holds(i * kCluster + kCluster / 2, kCluster / 2, 0));
        }
      }
      image.close();
      CHECK(image.sound());
      if (session == 0) image.open();
    }
  }
}

TEST_CASE("Class F: a write never touches a cluster that a snapshot uses too", "[qcow]") {
  for (std::uint32_t version : {2u, 3u}) {
    QcowFixture image;
    image.format({.size = 4 * kMiB, .version = version});
    image.open();
    image.write(0, 2 * kMiB, 1);
    QcowFixture::require(image.loop->run_until(image.disk->create_snapshot({.name = "before"})));
    image.write(100, kMiB, 2);
    QcowFixture::require(image.loop->run_until(image.disk->discard(kMiB + kCluster, kCluster)));
    QcowFixture::require(image.loop->run_until(
        image.disk->write_zeroes(3 * kCluster, kCluster, ZeroMode::kKeepAllocated)));
    image.close();
    CHECK(image.sound());
    image.open();
    QcowFixture::require(image.loop->run_until(image.disk->apply_snapshot("before")));
    CHECK(image.holds(0, 2 * kMiB, 1));
    CHECK(image.holds(2 * kMiB, 2 * kMiB, 0));
    image.write(0, kMiB, 3);
    QcowFixture::require(image.loop->run_until(image.disk->delete_snapshot("before")));
    CHECK(image.holds(0, kMiB, 3));
    CHECK(image.holds(kMiB, kMiB, 1));
    image.close();
    CHECK(image.sound());
  }
}

TEST_CASE("Class G: the header is not handed out even where its refcount says free", "[qcow]") {
  QcowFixture image;
  image.format({.size = 4 * kMiB});
  const std::vector<std::byte> header(image.bytes->data.begin(), image.bytes->data.begin() + 104);
  store_be<std::uint16_t>(image.bytes->data.data() + 2 * kCluster, 0);
  image.open();
  Result<void> written = image.try_write(0, std::vector<std::byte>(4096, std::byte{0xff}));
  REQUIRE(!written);
  CHECK(written.error().kind() == ErrorKind::kCorrupt);
  image.close();
  // The magic number and the sizes stand; the corrupt bit was set.
  CHECK(std::equal(header.begin(), header.begin() + 72, image.bytes->data.begin()));
  CHECK(image.check(Repair::kAll).corruptions_fixed == 1);
  image.open();
  image.write(0, 4096, 1);
  image.close();
  CHECK(image.sound());
}

TEST_CASE("Class G: a live L2 table is not handed out even where its refcount says free",
          "[qcow]") {
  QcowFixture image;
  image.format({.size = 4 * kMiB});
  image.open();
  image.write(0, kCluster, 7);
  image.close();
  const auto be64 = [&](std::uint64_t at) {
    return load_be<std::uint64_t>(image.bytes->data.data() + at);
  };
  const std::uint64_t table = be64(be64(40)) & kOffsetMask;
  REQUIRE(table != 0);
  const std::uint64_t block = be64(be64(48));
  store_be<std::uint16_t>(image.bytes->data.data() + block + table / kCluster * 2, 0);
  const auto bytes_of_table = [&] {
    const auto start = image.bytes->data.begin() + static_cast<std::ptrdiff_t>(table);
    return std::vector<std::byte>(start, start + kCluster);
  };
  const std::vector<std::byte> before = bytes_of_table();
  image.open();
  const Result<void> written = image.try_write(kMiB, std::vector<std::byte>(4096, std::byte{0xff}));
  REQUIRE(!written);
  CHECK(written.error().kind() == ErrorKind::kCorrupt);
  CHECK(image.holds(0, kCluster, 7));
  image.close();
  CHECK((bytes_of_table() == before));
}

TEST_CASE("Class H: refcounts that grow leave nothing behind", "[qcow]") {
  QcowFixture image;
  image.format({.size = 8 * kMiB, .cluster_size = 512, .refcount_bits = 64});
  image.open();
  // The refcount table moves many times: a block of it counts 64 clusters.
  for (std::uint64_t at = 0; at < 8 * kMiB; at += 64 * 1024) {
    image.write(at, 64 * 1024, 1);
    if (at % kMiB == 0) image.flush();
  }
  image.close();
  CHECK(image.sound());
  // An L2 table and a refcount block for 64 clusters each, and the tables above them.
  CHECK(image.bytes->data.size() < 8 * kMiB * 107 / 100);
}

TEST_CASE("Class I: an L2 table that cannot be read is an error, not zeros", "[qcow]") {
  QcowFixture image;
  image.format({.size = 4 * kMiB});
  image.open();
  image.write(0, 4096, 1);
  image.close();
  const std::uint64_t l1 = 3 * kCluster;
  store_be<std::uint64_t>(image.bytes->data.data() + l1, kCopied | (std::uint64_t{1} << 40));
  image.open({.read_only = true});
  std::vector<std::byte> data(512);
  iovec iov = as_iovec(std::span<std::byte>(data));
  Result<void> read = image.loop->run_until(image.disk->readv(0, IoVec(&iov, 1)));
  REQUIRE(!read);
  CHECK(read.error().kind() == ErrorKind::kCorrupt);
  image.close();
  CHECK(image.check().corruptions > 0);
}

TEST_CASE("Class K: beyond a short backing file there are zeros, and zeroing hides it", "[qcow]") {
  QcowFixture image;
  image.format({.size = 4 * kMiB, .backing_file = "base", .backing_format = "raw"});
  image.open({}, base_of(image, kMiB + 1000, 0x55));
  CHECK(image.holds(0, kMiB + 1000, 0x55));
  CHECK(image.holds(kMiB + 1000, 3 * kMiB - 1000, 0));
  image.write(kMiB + 2000, 10, 1);  // copies what is before it
  CHECK(image.holds(kMiB, 1000, 0x55));
  CHECK(image.holds(kMiB + 1000, 1000, 0));
  QcowFixture::require(
      image.loop->run_until(image.disk->write_zeroes(0, 4 * kCluster, ZeroMode::kMayUnmap)));
  QcowFixture::require(image.loop->run_until(image.disk->discard(4 * kCluster, kCluster)));
  CHECK(image.holds(0, 5 * kCluster, 0));
  CHECK(image.holds(5 * kCluster, kMiB - 5 * kCluster, 0x55));
  image.close();
  CHECK(image.sound());
}

TEST_CASE("Class J: opening an image with lazy refcounts leaves that bit as it was", "[qcow]") {
  QcowFixture image;
  image.format({.size = 4 * kMiB, .lazy_refcounts = true});
  const std::vector<std::byte> before = image.bytes->data;
  image.open();
  CHECK(image.holds(0, kCluster, 0));
  image.close();
  CHECK((image.bytes->data == before));
}

TEST_CASE("Class M: an incompatible bit that nobody knows is refused by its number", "[qcow]") {
  QcowFixture image;
  image.format({.size = 4 * kMiB});
  std::byte* features = image.bytes->data.data() + 72;
  store_be<std::uint64_t>(features, std::uint64_t{1} << 41);
  const auto opened = image.try_open();
  REQUIRE(!opened);
  CHECK(opened.error().message().find("41") != std::string::npos);
}

TEST_CASE("kvmtool: a compressed cluster beyond 2 GiB is found where it is", "[qcow]") {
  Geometry geometry;
  for (std::uint32_t bits : {9u, 16u, 21u}) {
    geometry.cluster_bits = bits;
    const HostOffset at((std::uint64_t{5} << 30) + 77);
    const CompressedRange range =
        compressed_range(compressed_descriptor(at, 100, geometry), geometry);
    CHECK(range.offset == at);
    CHECK(range.size >= 100);
  }
}

TEST_CASE("kvmtool: an encrypted image is refused, not read as it stands", "[qcow]") {
  for (std::uint32_t method : {1u, 2u, 3u}) {
    QcowFixture image;
    image.format({.size = 4 * kMiB});
    store_be<std::uint32_t>(image.bytes->data.data() + 32, method);
    const auto opened = image.try_open();
    REQUIRE(!opened);
    INFO(opened.error().message());
    CHECK(opened.error().kind() == ErrorKind::kUnsupported);
    if (method == 1) CHECK(opened.error().message().find("AES") != std::string::npos);
    if (method == 2) CHECK(opened.error().message().find("LUKS") != std::string::npos);
  }
}

}  // namespace
}  // namespace vmm::disk::qcow
