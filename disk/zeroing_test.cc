// SPDX-License-Identifier: Apache-2.0
#include "disk/zeroing.h"

#include "disk/file_storage.h"
#include "disk/testing/loop_device.h"
#include "disk/testing/memory_storage.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kSize = 1 << 20;

// What make_zero() leaves of a storage of kSize bytes.
void check_zeroed(EventLoop& loop, Storage& storage, std::uint64_t offset, std::uint64_t length) {
  CAPTURE(offset, length);
  const auto left_over = static_cast<std::byte>(LoopDevice::kLeftOver);
  std::vector<std::byte> bytes(kSize, left_over);
  iovec whole = as_iovec(std::span<std::byte>(bytes));
  REQUIRE(loop.run_until(storage.writev(0, IoVec(&whole, 1))));
  const Result<void> done = loop.run_until(make_zero(storage, offset, length));
  INFO((done ? std::string() : done.error().message()));
  REQUIRE(done);
  std::vector<std::byte> expected(kSize, left_over);
  for (std::uint64_t at = offset; at < std::min(offset + length, kSize); ++at) {
    expected[at] = std::byte{0};
  }
  REQUIRE(loop.run_until(storage.readv(0, IoVec(&whole, 1))));
  CHECK((bytes == expected));
  CHECK(storage.size() == kSize);
}

void check_all(EventLoop& loop, Storage& storage) {
  check_zeroed(loop, storage, 0, kSize);
  check_zeroed(loop, storage, 0, kSize + 4096);  // no more than there is
  check_zeroed(loop, storage, kSize, 4096);
  check_zeroed(loop, storage, 65536, 65536);
  check_zeroed(loop, storage, 1000, 100);    // less than a sector
  check_zeroed(loop, storage, 1000, 20000);  // from inside a sector to inside another
  check_zeroed(loop, storage, 4096, 100);
  check_zeroed(loop, storage, kSize - 700, 700);
}

TEST_CASE("make_zero: a used device reads as zeros there and nowhere else", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  for (const bool can_punch : {true, false}) {
    MemoryStorage memory(*loop, MemoryStorage::used_device(kSize, can_punch));
    CHECK(!memory.fresh_is_zero());
    check_all(*loop, memory);
  }
  for (const std::uint32_t sector : {512u, 4096u}) {
    const LoopDevice device(kSize, sector);
    if (device.path().empty()) {
      WARN("no loop devices here: real ones are not tested");
      return;
    }
    for (const bool direct : {false, true}) {
      CAPTURE(sector, direct);
      FileOptions options;
      options.direct = direct;
      Result<std::unique_ptr<FileStorage>> file = FileStorage::open(*loop, device.path(), options);
      REQUIRE(file);
      CHECK(!(*file)->fresh_is_zero());
      check_all(*loop, **file);
    }
  }
}

TEST_CASE("make_zero: a file gives the space back and keeps its size", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::unique_ptr<FileStorage> file = *FileStorage::create_temporary(*loop);
  CHECK(file->fresh_is_zero());
  check_all(*loop, *file);
}

}  // namespace
}  // namespace vmm::disk
