// SPDX-License-Identifier: Apache-2.0
#include "disk/grow.h"

#include <memory>
#include <vector>

#include "disk/qcow/create.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/raw_disk.h"
#include "disk/testing/memory_storage.h"
#include "disk/writethrough_disk.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kSize = 1 << 20;

struct Bench {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::shared_ptr<MemoryStorage::Bytes> bytes = std::make_shared<MemoryStorage::Bytes>();

  std::unique_ptr<MemoryStorage> storage(bool read_only = false) {
    return std::make_unique<MemoryStorage>(*loop, bytes, 3, 1, read_only);
  }
  std::unique_ptr<Disk> raw(bool read_only = false) {
    bytes->data.resize(kSize);
    return std::make_unique<RawDisk>(storage(read_only));
  }
  std::unique_ptr<Disk> qcow2(bool make = true) {
    std::unique_ptr<MemoryStorage> file = storage();
    qcow::FormatOptions format;
    format.size = kSize;
    if (make) REQUIRE(loop->run_until(qcow::format_image(*file, format)));
    qcow::Header header = *loop->run_until(qcow::read_header(*file));
    return *loop->run_until(qcow::QcowDisk::open(*loop, std::move(file), std::move(header), nullptr,
                                                 nullptr, qcow::QcowOptions{}));
  }
  // What `disk` says to a size: "" or the error.
  std::string grow_to(Disk& disk, std::uint64_t size) {
    Result<void> done = loop->run_until(grow(disk, size));
    return done ? "" : done.error().message();
  }
  bool write(Disk& disk, std::uint64_t offset, char value) {
    std::vector<char> data(4096, value);
    iovec iov{data.data(), data.size()};
    return loop->run_until(disk.writev(offset, IoVec(&iov, 1))).has_value();
  }
  bool holds(Disk& disk, std::uint64_t offset, char value) {
    std::vector<char> data(4096, '?');
    iovec iov{data.data(), data.size()};
    return loop->run_until(disk.readv(offset, IoVec(&iov, 1))) &&
           data == std::vector<char>(4096, value);
  }
};

TEST_CASE("grow: a disk keeps what it has, and what is added reads as zeros", "[disk]") {
  for (bool qcow2 : {false, true}) {
    Bench bench;
    std::unique_ptr<Disk> disk = qcow2 ? bench.qcow2() : bench.raw();
    disk = std::make_unique<WritethroughDisk>(std::move(disk));
    REQUIRE(bench.write(*disk, kSize - 4096, 'a'));
    CHECK_FALSE(bench.write(*disk, kSize, 'b'));
    CHECK(bench.grow_to(*disk, 3 * kSize).empty());
    CHECK(disk->size() == 3 * kSize);
    CHECK(bench.holds(*disk, kSize - 4096, 'a'));
    CHECK(bench.holds(*disk, 3 * kSize - 4096, '\0'));
    CHECK(bench.write(*disk, 3 * kSize - 4096, 'c'));
    CHECK(bench.grow_to(*disk, 3 * kSize).empty());
    REQUIRE(bench.loop->run_until(disk->close()));
    disk.reset();

    if (qcow2) {
      disk = bench.qcow2(/*make=*/false);
    } else {
      disk = std::make_unique<RawDisk>(bench.storage());
    }
    CHECK(disk->size() == 3 * kSize);
    CHECK(bench.holds(*disk, kSize - 4096, 'a'));
    CHECK(bench.holds(*disk, 3 * kSize - 4096, 'c'));
    REQUIRE(bench.loop->run_until(disk->close()));
  }
}

TEST_CASE("grow: a smaller size, half a sector and a read-only disk are refused", "[disk]") {
  Bench bench;
  std::unique_ptr<Disk> disk = bench.raw();
  CHECK(bench.grow_to(*disk, kSize - 512).find("only grows") != std::string::npos);
  CHECK(bench.grow_to(*disk, kSize + 100).find("whole sectors") != std::string::npos);
  CHECK(bench.grow_to(*disk, UINT64_MAX - 511).find("whole sectors") != std::string::npos);
  CHECK(disk->size() == kSize);
  CHECK(bench.grow_to(*bench.raw(/*read_only=*/true), 2 * kSize).find("read-only") !=
        std::string::npos);
}

}  // namespace
}  // namespace vmm::disk
