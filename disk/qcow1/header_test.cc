// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow1/header.h"

#include "disk/testing/memory_storage.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow1 {
namespace {

// An image of 1 MiB with one field changed.
class Changed {
 public:
  explicit Changed(const std::string& backing = "") {
    MemoryStorage storage(*loop_, bytes_);
    REQUIRE(loop_->run_until(format_image(storage, *header_for(1 << 20, backing))));
  }
  template <class T>
  Changed& set(std::size_t at, T value) {
    store_be<T>(bytes_->data.data() + at, value);
    return *this;
  }
  Result<Header> header() {
    MemoryStorage storage(*loop_, bytes_);
    return loop_->run_until(read_header(storage));
  }
  std::string refusal() {
    const Result<Header> read = header();
    return read ? "accepted" : read.error().message();
  }

 private:
  std::unique_ptr<EventLoop> loop_ = *EventLoop::create();
  std::shared_ptr<MemoryStorage::Bytes> bytes_ = std::make_shared<MemoryStorage::Bytes>();
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("qcow1 header: what was made is read again", "[qcow1]") {
  const Result<Header> header = Changed("base.raw").header();
  REQUIRE(header);
  CHECK(header->size == 1 << 20);
  CHECK(header->cluster_size() == 512);
  CHECK(header->backing_file == "base.raw");
  CHECK(Changed().header()->cluster_size() == 4096);
}

TEST_CASE("qcow1 header: AES is refused by name", "[qcow1]") {
  CHECK(contains(Changed().set<std::uint32_t>(36, 1).refusal(), "AES"));
  CHECK(contains(Changed().set<std::uint32_t>(36, 7).refusal(), "encryption method 7"));
}

TEST_CASE("qcow1 header: fields out of range are refused, and named", "[qcow1]") {
  CHECK(contains(Changed().set<std::uint8_t>(32, 8).refusal(), "cluster_bits is 8"));
  CHECK(contains(Changed().set<std::uint8_t>(32, 17).refusal(), "cluster_bits is 17"));
  CHECK(contains(Changed().set<std::uint8_t>(33, 5).refusal(), "l2_bits is 5"));
  CHECK(contains(Changed().set<std::uint8_t>(33, 14).refusal(), "l2_bits is 14"));
  CHECK(contains(Changed().set<std::uint64_t>(24, 0).refusal(), "size is 0"));
  CHECK(contains(Changed().set<std::uint64_t>(24, ~std::uint64_t{0}).refusal(), "size is"));
  CHECK(contains(Changed().set<std::uint64_t>(24, std::uint64_t{1} << 60).refusal(), "32 MiB"));
  CHECK(contains(Changed().set<std::uint64_t>(40, 1 << 20).refusal(), "l1_table_offset"));
  CHECK(contains(Changed().set<std::uint64_t>(40, 8).refusal(), "l1_table_offset"));
  CHECK(contains(Changed().set<std::uint64_t>(40, ~std::uint64_t{0}).refusal(), "l1_table_offset"));
  CHECK(contains(Changed("b").set<std::uint32_t>(16, 1024).refusal(), "backing_file_size"));
  CHECK(contains(Changed("b").set<std::uint64_t>(8, 1 << 20).refusal(), "backing_file_size"));
}

TEST_CASE("qcow1 header: an L1 table of odd length does not round down", "[qcow1]") {
  Header header = *header_for(3 << 20, "");
  CHECK(header.l1_entries() == 2);  // 2 MiB each
  header.size = (4 << 20) + 512;
  CHECK(header.l1_entries() == 3);
}

}  // namespace
}  // namespace vmm::disk::qcow1
