// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/snapshot_table.h"

#include "disk/testing/memory_storage.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kTable = 0x10000;

// A table of `nr` snapshots without disks, in a file.
class Table {
 public:
  explicit Table(std::vector<Snapshot> snapshots) {
    const std::vector<std::byte> encoded = *encode_snapshots(snapshots);
    bytes_->data.resize(kTable);
    bytes_->data.insert(bytes_->data.end(), encoded.begin(), encoded.end());
    header_.snapshots_offset = HostOffset(kTable);
    header_.nr_snapshots = static_cast<std::uint32_t>(snapshots.size());
  }
  std::byte* entry() { return bytes_->data.data() + kTable; }
  void cut(std::size_t bytes) { bytes_->data.resize(bytes_->data.size() - bytes); }
  Result<std::vector<Snapshot>> load() {
    MemoryStorage storage(*loop_, bytes_);
    return loop_->run_until(load_snapshots(storage, header_));
  }
  std::string refusal() {
    const auto loaded = load();
    return loaded ? "accepted" : loaded.error().message();
  }

 private:
  std::unique_ptr<EventLoop> loop_ = *EventLoop::create();
  std::shared_ptr<MemoryStorage::Bytes> bytes_ = std::make_shared<MemoryStorage::Bytes>();
  Header header_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<Snapshot> two() {
  Snapshot first;
  first.id = "1";
  first.name = "before the update";
  first.disk_size = 12345 * 512;
  first.further_fields.assign(16, std::byte{7});
  Snapshot second;
  second.id = "2";
  return {first, second};
}

TEST_CASE("Snapshot table: what is encoded is loaded again, fields of the future included",
          "[qcow]") {
  const auto loaded = Table(two()).load();
  REQUIRE(loaded);
  REQUIRE(loaded->size() == 2);
  CHECK((*loaded)[0].name == "before the update");
  CHECK((*loaded)[0].disk_size == 12345 * 512);
  CHECK((*loaded)[0].further_fields == std::vector<std::byte>(16, std::byte{7}));
  CHECK((*loaded)[1].id == "2");
}

TEST_CASE("Snapshot table: a 65537th snapshot is refused", "[qcow]") {
  std::vector<Snapshot> snapshots(65537);
  CHECK_FALSE(encode_snapshots(snapshots));
  snapshots.pop_back();
  CHECK(encode_snapshots(snapshots));
}

TEST_CASE("Snapshot table: more than 64 MiB are refused, to write and to read", "[qcow]") {
  Snapshot long_name;
  long_name.name.assign(65535, 'x');
  std::vector<Snapshot> snapshots(1023, long_name);
  Table table(snapshots);
  CHECK(table.load());
  snapshots.resize(1030, long_name);
  const auto encoded = encode_snapshots(snapshots);
  REQUIRE_FALSE(encoded);
  CHECK(contains(encoded.error().message(), "64 MiB"));
}

TEST_CASE("Snapshot table: an entry that leaves the file is refused", "[qcow]") {
  Table table(two());
  table.cut(8);
  CHECK(contains(table.refusal(), "entry 1: the table leaves the file"));
}

TEST_CASE("Snapshot table: L1 tables beyond 32 MiB or outside the file are refused", "[qcow]") {
  Table large(two());
  store_be<std::uint32_t>(large.entry() + 8, (32 << 20) / 8 + 1);
  CHECK(contains(large.refusal(), "4194305 entries"));
  Table outside(two());
  store_be<std::uint64_t>(outside.entry(), std::uint64_t{1} << 50);
  store_be<std::uint32_t>(outside.entry() + 8, 4);
  CHECK(contains(outside.refusal(), "cannot be at 0x4000000000000"));
}

TEST_CASE("Snapshot table: extra data beyond 1 KiB is refused", "[qcow]") {
  Table table(two());
  store_be<std::uint32_t>(table.entry() + 36, 1025);
  CHECK(contains(table.refusal(), "1025 bytes of extra data"));
}

}  // namespace
}  // namespace vmm::disk::qcow
