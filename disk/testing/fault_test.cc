// SPDX-License-Identifier: Apache-2.0
// Faults that once did more harm than to fail a request.
#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/testing/fault_storage.h"
#include "disk/testing/image_checker.h"
#include "disk/testing/memory_storage.h"
#include "vmm/core/log.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

// An image in memory whose storage fails on demand.
struct Faulty {
  explicit Faulty(const qcow::FormatOptions& format, const qcow::QcowOptions& options = {}) {
    log::set_level(log::Level::kError);
    MemoryStorage empty(*loop, bytes);
    REQUIRE(loop->run_until(qcow::format_image(empty, format)));
    auto storage = std::make_unique<FaultStorage>(
        *loop, std::make_unique<MemoryStorage>(*loop, bytes), recording, fault);
    Result<qcow::Header> header = loop->run_until(qcow::read_header(*storage));
    REQUIRE(header);
    Result<std::unique_ptr<qcow::QcowDisk>> opened = loop->run_until(
        qcow::QcowDisk::open(*loop, std::move(storage), *header, nullptr, nullptr, options));
    REQUIRE(opened);
    disk = std::move(*opened);
  }
  ~Faulty() { log::set_level(log::Level::kWarning); }

  bool write(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> data(length, std::byte{7});
    iovec iov = as_iovec(std::span<std::byte>(data));
    return loop->run_until(disk->writev(offset, IoVec(&iov, 1))).has_value();
  }

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::shared_ptr<MemoryStorage::Bytes> bytes = std::make_shared<MemoryStorage::Bytes>();
  std::shared_ptr<Recording> recording = std::make_shared<Recording>();
  std::shared_ptr<Fault> fault = std::make_shared<Fault>();
  std::unique_ptr<qcow::QcowDisk> disk;
};

TEST_CASE("QcowDisk: a failed write-back for a full L2 cache frees its error once", "[fault]") {
  Faulty image({.size = 1 << 20, .cluster_size = 512},
               {.l2_cache_size = 512, .l2_cache_entry_size = 512});
  REQUIRE(image.write(0, 512));
  image.fault->once = false;
  image.fault->hits = [](std::uint64_t, const StorageOp& op) {
    return op.kind == StorageOp::Kind::kSync;
  };
  // Each in another L2 table, so that the first has to go.
  for (std::uint64_t at = 0; at < 8; ++at) (void)image.write(at * 32768, 512);
  CHECK(!image.fault->victims.empty());
  image.fault->hits = nullptr;
  for (std::uint64_t at = 0; at < 8; ++at) CHECK(image.write(at * 32768, 512));
  CHECK(image.loop->run_until(image.disk->close()));
  CHECK(check_image(image.bytes->data).corruptions.empty());
}

TEST_CASE("QcowDisk: a failed read never makes a sound image look corrupt", "[fault]") {
  // A refcount block covers 64 clusters: many are made, and the cache holds few of them.
  for (std::uint64_t victim = 0;; ++victim) {
    Faulty image({.size = 96 << 10, .cluster_size = 512, .refcount_bits = 64},
                 {.refcount_cache_size = 1});
    std::uint64_t nr_reads = 0;
    image.fault->hits = [&](std::uint64_t, const StorageOp& op) {
      return op.kind == StorageOp::Kind::kRead && nr_reads++ == victim;
    };
    int nr_failed = 0;
    for (std::uint64_t at = 0; at < 80; ++at) nr_failed += !image.write(at * 1024, 1024);
    (void)image.loop->run_until(image.disk->discard(0, 60 << 10));
    for (int i = 0; i < 3; ++i) (void)image.loop->run_until(image.disk->flush());
    CAPTURE(victim);
    CHECK(nr_failed <= 1);
    for (std::uint64_t at = 0; at < 80; ++at) CHECK(image.write(at * 1024, 1024));
    CHECK(image.loop->run_until(image.disk->close()));
    CHECK(check_image(image.bytes->data).corruptions.empty());
    if (image.fault->victims.empty()) break;
  }
}

TEST_CASE("QcowDisk: a write without space fails alone, and works once there is space", "[fault]") {
  Faulty image({.size = 1 << 20, .cluster_size = 4096});
  const std::uint64_t limit = image.bytes->data.size() + (64 << 10);
  image.fault->kind = Fault::Kind::kNoSpace;
  image.fault->once = false;
  image.fault->hits = [&](std::uint64_t, const StorageOp& op) {
    return op.kind == StorageOp::Kind::kWrite && op.offset + op.length > limit;
  };
  int nr_failed = 0;
  for (std::uint64_t at = 0; at < 64; ++at) nr_failed += !image.write(at * 4096, 4096);
  CHECK(nr_failed > 40);
  CHECK(image.write(0, 4096));  // what has its place is written as before
  CHECK(image.loop->run_until(image.disk->flush()));
  image.fault->hits = nullptr;
  for (std::uint64_t at = 0; at < 64; ++at) CHECK(image.write(at * 4096, 4096));
  CHECK(image.loop->run_until(image.disk->close()));
  const ImageReport report = check_image(image.bytes->data);
  CHECK(report.corruptions.empty());
  CHECK(report.leaks == 0);
}

TEST_CASE("QcowDisk: without space a write takes what was discarded, no flush needed", "[fault]") {
  constexpr std::uint64_t kCluster = 4096;
  Faulty image({.size = 1 << 20, .cluster_size = kCluster});
  for (std::uint64_t at = 0; at < 32; ++at) CHECK(image.write(at * kCluster, kCluster));
  const std::uint64_t limit = image.bytes->data.size();
  image.fault->kind = Fault::Kind::kNoSpace;
  image.fault->once = false;
  image.fault->hits = [&](std::uint64_t, const StorageOp& op) {
    return op.kind == StorageOp::Kind::kWrite && op.offset + op.length > limit;
  };
  CHECK(!image.write(40 * kCluster, kCluster));
  CHECK(image.loop->run_until(image.disk->discard(0, 16 * kCluster)));
  for (std::uint64_t at = 40; at < 56; ++at) CHECK(image.write(at * kCluster, kCluster));
  CHECK(!image.write(60 * kCluster, kCluster));
  CHECK(image.loop->run_until(image.disk->close()));
  const ImageReport report = check_image(image.bytes->data);
  CHECK(report.corruptions.empty());
  CHECK(report.leaks == 0);
}

// What goes on in the background needs turns of the loop.
Task<void> turns(EventLoop& loop) {
  for (int i = 0; i < 20; ++i) co_await loop.yield();
}

TEST_CASE("QcowDisk: a guest that discards and never flushes does not fill the host", "[fault]") {
  constexpr std::uint64_t kSize = 96 << 20;
  Faulty image({.size = kSize, .cluster_size = 1 << 20});
  for (int round = 0; round < 6; ++round) {
    for (std::uint64_t at = 0; at < kSize; at += 1 << 20) REQUIRE(image.write(at, 512));
    REQUIRE(image.loop->run_until(image.disk->discard(0, kSize)));
    image.loop->run_until(turns(*image.loop));
  }
  CHECK(image.bytes->data.size() < 4 * kSize);
  CHECK(image.loop->run_until(image.disk->close()));
}

// Fails one operation after the other, once each, while `change` is made to a disk with some data;
// whatever fails, the disk is the old one or the new one, and everything works afterwards.
template <class Change>
void fail_each_operation(const Change& change) {
  for (std::uint64_t victim = 0;; ++victim) {
    Faulty image({.size = 48 << 10, .cluster_size = 512});
    REQUIRE(image.write(0, 48 << 10));
    REQUIRE(image.loop->run_until(image.disk->flush()));
    std::uint64_t nr_ops = 0;
    image.fault->hits = [&](std::uint64_t, const StorageOp&) { return nr_ops++ == victim; };
    CAPTURE(victim);
    (void)change(image);
    const bool hit = !image.fault->victims.empty();
    image.fault->hits = nullptr;
    std::vector<std::byte> data(48 << 10);
    iovec iov = as_iovec(std::span<std::byte>(data));
    REQUIRE(image.loop->run_until(image.disk->readv(0, IoVec(&iov, 1))));
    CHECK(data == std::vector<std::byte>(48 << 10, std::byte{7}));
    CHECK(image.write(1024, 4096));
    CHECK(image.loop->run_until(image.disk->flush()));
    CHECK(change(image));
    CHECK(image.loop->run_until(image.disk->close()));
    const ImageReport report = check_image(image.bytes->data);
    CHECK(report.corruptions.empty());
    CHECK(!report.dirty);
    if (!hit) break;
  }
}

TEST_CASE("QcowDisk: a failure while the disk grows does not lose the disk", "[fault]") {
  fail_each_operation([](Faulty& image) {
    return image.loop->run_until(image.disk->resize(image.disk->size() + (64 << 10))).has_value();
  });
}

TEST_CASE("QcowDisk: a failure while a snapshot is made does not lose the disk", "[fault]") {
  fail_each_operation([](Faulty& image) {
    qcow::Snapshot snapshot;
    snapshot.name = "a";
    return image.loop->run_until(image.disk->create_snapshot(std::move(snapshot))).has_value();
  });
}

}  // namespace
}  // namespace vmm::disk
