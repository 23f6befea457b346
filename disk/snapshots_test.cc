// SPDX-License-Identifier: Apache-2.0
#include "disk/snapshots.h"

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

struct Bench {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::shared_ptr<MemoryStorage::Bytes> bytes = std::make_shared<MemoryStorage::Bytes>();

  std::unique_ptr<MemoryStorage> storage() {
    return std::make_unique<MemoryStorage>(*loop, bytes, 3, 1, false);
  }
  std::unique_ptr<Disk> qcow2(bool make, bool read_only = false) {
    std::unique_ptr<MemoryStorage> file = storage();
    qcow::FormatOptions format;
    format.size = 1 << 20;
    if (make) REQUIRE(loop->run_until(qcow::format_image(*file, format)));
    qcow::Header header = *loop->run_until(qcow::read_header(*file));
    qcow::QcowOptions options;
    options.read_only = read_only;
    return *loop->run_until(
        qcow::QcowDisk::open(*loop, std::move(file), std::move(header), nullptr, nullptr, options));
  }
  void fill(Disk& disk, char value) {
    std::vector<char> data(4096, value);
    iovec iov{data.data(), data.size()};
    REQUIRE(loop->run_until(disk.writev(0, IoVec(&iov, 1))));
  }
  char first(Disk& disk) {
    char value = '?';
    iovec iov{&value, 1};
    REQUIRE(loop->run_until(disk.readv(0, IoVec(&iov, 1))));
    return value;
  }
};

TEST_CASE("snapshots: a disk that goes on being written keeps what it held", "[disk]") {
  Bench bench;
  std::unique_ptr<Disk> disk = std::make_unique<WritethroughDisk>(bench.qcow2(true));
  for (char value : {'a', 'b', 'c'}) {
    bench.fill(*disk, value);
    REQUIRE(bench.loop->run_until(create_snapshot(*disk, std::string(1, value))));
  }
  bench.fill(*disk, 'd');
  REQUIRE(bench.loop->run_until(delete_snapshot(*disk, "b")));
  CHECK(bench.loop->run_until(delete_snapshot(*disk, "b")).error().kind() == ErrorKind::kNotFound);
  CHECK(bench.first(*disk) == 'd');
  const std::vector<qcow::Snapshot> all = *snapshots_of(*disk);
  REQUIRE(all.size() == 2);
  CHECK((all[0].name == "a" && all[1].name == "c"));
  CHECK(all[1].date_seconds > 1'600'000'000);

  REQUIRE(bench.loop->run_until(disk->close()));
  disk = bench.qcow2(false);
  CHECK(bench.first(*disk) == 'd');
  REQUIRE(bench.loop->run_until(static_cast<qcow::QcowDisk&>(*disk).apply_snapshot("a")));
  CHECK(bench.first(*disk) == 'a');
  REQUIRE(bench.loop->run_until(disk->close()));
}

TEST_CASE("snapshots: raw images have none, and read-only ones get none", "[disk]") {
  Bench bench;
  bench.bytes->data.resize(1 << 20);
  RawDisk raw(bench.storage());
  CHECK(snapshots_of(raw).error().kind() == ErrorKind::kUnsupported);
  CHECK(bench.loop->run_until(create_snapshot(raw, "a")).error().message() ==
        "raw images have no snapshots");
  bench.bytes->data.clear();
  bench.qcow2(true).reset();
  const std::unique_ptr<Disk> disk = bench.qcow2(false, /*read_only=*/true);
  CHECK(bench.loop->run_until(create_snapshot(*disk, "a")).error().kind() ==
        ErrorKind::kPermission);
  CHECK(snapshots_of(*disk)->empty());
}

}  // namespace
}  // namespace vmm::disk
