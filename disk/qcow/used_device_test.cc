// SPDX-License-Identifier: Apache-2.0
// A block device is never empty: nothing of what its last user left there may show, neither as
// guest data nor as an entry of a table.
#include <random>

#include "disk/file_storage.h"
#include "disk/testing/loop_device.h"
#include "disk/testing/qcow_fixture.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kDisk = 256 << 10;  // bytes
constexpr std::uint64_t kDevice = 4 << 20;  // bytes

// Random requests on a disk, and what it should hold.
class Script {
 public:
  Script(EventLoop& loop, QcowDisk& disk, std::uint64_t seed)
      : loop_(loop), disk_(disk), random_(seed), expected_(kDisk) {}

  Result<void> request() {
    const std::uint64_t at = random_() % expected_.size();
    const std::uint64_t length =
        1 + random_() % std::min<std::uint64_t>(expected_.size() - at, 20000);
    const auto value = static_cast<std::byte>(random_() % 4 == 0 ? 0 : 1 + random_() % 200);
    const std::uint64_t kind = random_() % 10;
    if (kind == 0) return loop_.run_until(disk_.flush());
    if (kind < 4) {
      set(at, length, std::byte{0});
      return loop_.run_until(disk_.write_zeroes(
          at, length, kind == 1 ? ZeroMode::kKeepAllocated : ZeroMode::kMayUnmap));
    }
    set(at, length, value);
    std::vector<std::byte> data(length, value);
    iovec iov = as_iovec(std::span<std::byte>(data));
    return loop_.run_until(disk_.writev(at, IoVec(&iov, 1)));
  }
  Result<void> grow() {
    expected_.resize(expected_.size() + 100 * 512);
    return loop_.run_until(disk_.resize(expected_.size()));
  }
  bool agrees() {
    std::vector<std::byte> seen(expected_.size(), std::byte{0xee});
    iovec iov = as_iovec(std::span<std::byte>(seen));
    return loop_.run_until(disk_.readv(0, IoVec(&iov, 1))) && seen == expected_;
  }

 private:
  void set(std::uint64_t at, std::uint64_t length, std::byte value) {
    std::fill_n(expected_.begin() + static_cast<std::ptrdiff_t>(at), length, value);
  }

  EventLoop& loop_;
  QcowDisk& disk_;
  std::mt19937_64 random_;
  std::vector<std::byte> expected_;
};

void play(EventLoop& loop, QcowDisk& disk, std::uint64_t seed) {
  Script script(loop, disk, seed);
  REQUIRE(script.agrees());
  for (int part = 0; part < 4; ++part) {
    for (int i = 0; i < 40; ++i) QcowFixture::require(script.request());
    REQUIRE(script.agrees());
    QcowFixture::require(script.grow());
    REQUIRE(script.agrees());
  }
}

std::vector<FormatOptions> formats() {
  return {{.size = kDisk, .cluster_size = 512},
          {.size = kDisk, .cluster_size = 4096},
          {.size = kDisk, .version = 2, .cluster_size = 4096},
          {.size = kDisk, .cluster_size = 65536},
          {.size = kDisk, .cluster_size = 16384, .extended_l2 = true}};
}

TEST_CASE("Used device: an image there shows nothing of what was there before", "[qcow]") {
  std::uint64_t seed = 0;
  for (const FormatOptions& format : formats()) {
    for (const bool can_punch : {true, false}) {
      CAPTURE(format.cluster_size, can_punch);
      QcowFixture image;
      image.bytes = MemoryStorage::used_device(kDevice, can_punch);
      image.format(format);
      image.open();
      play(*image.loop, *image.disk, ++seed);
      image.close();
      CHECK(image.sound());
      // Once more over the same: the old image's tables are where the new one's will be.
      image.format(format);
      image.open();
      CHECK(image.holds(0, kDisk, 0));
      play(*image.loop, *image.disk, ++seed);
      image.close();
      CHECK(image.sound());
    }
  }
}

TEST_CASE("Used device: a preallocated image there reads as zeros", "[qcow]") {
  for (const FormatOptions& format : formats()) {
    for (const int how : {0, 1, 2}) {
      CAPTURE(format.cluster_size, how);
      QcowFixture image;
      image.bytes = MemoryStorage::used_device(kDevice);
      image.format(format);
      image.open();
      QcowFixture::require(image.loop->run_until(image.disk->preallocate(0, how == 1, how == 2)));
      CHECK(image.holds(0, kDisk, 0));
      play(*image.loop, *image.disk, 3);
      image.close();
      CHECK(image.sound());
    }
  }
}

TEST_CASE("Used device: no room for the tables is said before anything is written", "[qcow]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  auto bytes = MemoryStorage::used_device(64 << 10);
  const std::vector<std::byte> before = bytes->data;
  MemoryStorage storage(*loop, bytes);
  CHECK(!loop->run_until(format_image(storage, {.size = kDisk})));
  CHECK((bytes->data == before));
}

TEST_CASE("Used device: a device whose end is inside a cluster can be closed", "[qcow]") {
  QcowFixture image;
  image.bytes = MemoryStorage::used_device(kDevice + 512);
  image.format({.size = kDisk});
  image.open();
  image.write(0, 512, 1);
  image.close();
  CHECK(image.sound());
}

TEST_CASE("Used device: the same on loop devices", "[qcow]") {
  const LoopDevice device(kDevice, 512);
  if (device.path().empty()) {
    WARN("no loop devices here: skipped");
    return;
  }
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::uint64_t seed = 100;
  for (const FormatOptions& format : formats()) {
    for (const bool direct : {false, true}) {
      CAPTURE(format.cluster_size, direct);
      const auto open = [&] {
        FileOptions options;
        options.direct = direct;
        Result<std::unique_ptr<FileStorage>> file =
            FileStorage::open(*loop, device.path(), options);
        REQUIRE(file);
        return *std::move(file);
      };
      std::unique_ptr<FileStorage> storage = open();
      QcowFixture::require(loop->run_until(format_image(*storage, format)));
      Result<Header> header = loop->run_until(read_header(*storage));
      QcowFixture::require(header);
      Result<std::unique_ptr<QcowDisk>> disk =
          loop->run_until(QcowDisk::open(*loop, std::move(storage), *header, nullptr, nullptr, {}));
      QcowFixture::require(disk);
      play(*loop, **disk, ++seed);
      QcowFixture::require(loop->run_until((*disk)->close()));
      disk->reset();
      storage = open();
      header = loop->run_until(read_header(*storage));
      QcowFixture::require(header);
      const Result<CheckReport> report =
          loop->run_until(check_image(*loop, *storage, *header, Repair::kNone));
      QcowFixture::require(report);
      CHECK(report->corruptions == 0);
      CHECK(report->leaks == 0);
    }
  }
}

}  // namespace
}  // namespace vmm::disk::qcow
