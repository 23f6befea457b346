// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/header.h"

#include "disk/qcow/create.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint64_t kFileSize = 1 << 20;

// A sound header of a small image, to be spoiled.
std::vector<std::byte> sound_header(std::uint32_t version = 3) {
  Header header = *header_for({.size = 1 << 30, .version = version});
  header.refcount_table_offset = HostOffset(0x10000);
  header.refcount_table_clusters = 1;
  header.l1_offset = HostOffset(0x30000);
  std::vector<std::byte> bytes = *encode_header(header);
  bytes.resize(65536);
  return bytes;
}

template <class T>
std::string reason_with(std::size_t offset, T value, std::uint64_t file_size = kFileSize) {
  std::vector<std::byte> bytes = sound_header();
  store_be<T>(bytes.data() + offset, value);
  Result<Header> header = decode_header(bytes, file_size);
  return header ? "accepted" : header.error().message();
}

bool contains(const std::string& text, const std::string& part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

TEST_CASE("Header: what is encoded is decoded again", "[qcow]") {
  for (std::uint32_t version : {2u, 3u}) {
    FormatOptions options{.size = 12345 * 512, .version = version, .cluster_size = 4096};
    options.backing_file = "base.raw";
    options.backing_format = "raw";
    Header header = *header_for(options);
    header.refcount_table_offset = HostOffset(0x1000);
    header.refcount_table_clusters = 1;
    header.l1_offset = HostOffset(0x3000);
    std::vector<std::byte> bytes = *encode_header(header);
    bytes.resize(4096);
    Result<Header> again = decode_header(bytes, kFileSize);
    REQUIRE(again);
    CHECK(again->version == version);
    CHECK(again->size == 12345 * 512);
    CHECK(again->geometry.cluster_size() == 4096);
    CHECK(again->backing_file == "base.raw");
    CHECK(again->text(ExtensionType::kBackingFormat) == "raw");
    std::vector<std::byte> twice = *encode_header(*again);
    twice.resize(4096);
    CHECK((twice == bytes));
  }
}

TEST_CASE("Header: a sound one is accepted", "[qcow]") {
  CHECK(reason_with<std::uint32_t>(0, 0x514649fb) == "accepted");
}

TEST_CASE("Header: cluster_bits below 9 or above 21 is refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(20, 8), "cluster_bits is 8"));
  CHECK(contains(reason_with<std::uint32_t>(20, 22), "cluster_bits is 22"));
  CHECK(contains(reason_with<std::uint32_t>(20, 0xffffffff), "cluster_bits is 4294967295"));
}

TEST_CASE("Header: an unknown version is refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(4, 4), "version 4"));
}

TEST_CASE("Header: an L1 table of more than 32 MiB is refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(36, (32 << 20) / 8 + 1), "L1 table has 4194305"));
  CHECK(contains(reason_with<std::uint32_t>(36, 0xffffffff), "L1 table has 4294967295"));
}

TEST_CASE("Header: an L1 table that does not cover the virtual size is refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(36, 1), "needs 2 L1 entries, there are 1"));
  CHECK(contains(reason_with<std::uint64_t>(24, ~std::uint64_t{0}), "L1 entries, there are 2"));
}

TEST_CASE("Header: tables at unaligned places or beyond the file's end are refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint64_t>(40, 0x30001), "not a multiple of the cluster size"));
  CHECK(contains(reason_with<std::uint64_t>(40, 0xffffffffffff0000), "beyond the file's end"));
  CHECK(contains(reason_with<std::uint64_t>(48, kFileSize), "beyond the file's end"));
  CHECK(contains(reason_with<std::uint64_t>(48, 0), "not a multiple"));
}

TEST_CASE("Header: a refcount table of more than 8 MiB, or none, is refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(56, 129), "at most 8388608"));
  CHECK(contains(reason_with<std::uint32_t>(56, 0), "refcount table is missing"));
}

TEST_CASE("Header: more than 65536 snapshots are refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(60, 65537), "at most 65536"));
}

TEST_CASE("Header: refcounts of more than 64 bits are refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(96, 7), "refcount_order is 7"));
}

TEST_CASE("Header: a header_length out of range is refused", "[qcow]") {
  for (std::uint32_t length : {0u, 96u, 105u, 65544u, 0xfffffff8u}) {
    CHECK(contains(reason_with<std::uint32_t>(100, length), "header_length"));
  }
}

TEST_CASE("Header: a backing file's name beyond 1023 bytes or outside the first cluster is refused",
          "[qcow]") {
  std::vector<std::byte> bytes = sound_header();
  store_be<std::uint64_t>(bytes.data() + 8, 1024);
  store_be<std::uint32_t>(bytes.data() + 16, 1024);
  CHECK(!decode_header(bytes, kFileSize));
  store_be<std::uint32_t>(bytes.data() + 16, 1023);
  CHECK(decode_header(bytes, kFileSize));
  store_be<std::uint64_t>(bytes.data() + 8, 65536 - 100);
  CHECK(!decode_header(bytes, kFileSize));
  store_be<std::uint64_t>(bytes.data() + 8, ~std::uint64_t{0});
  CHECK(!decode_header(bytes, kFileSize));
}

TEST_CASE("Header: an extension that leaves the header is refused", "[qcow]") {
  CHECK(contains(reason_with<std::uint32_t>(112 + 4, 0xfffffff0), "leaves the header"));
}

TEST_CASE("Header: fields and extensions of the future are kept as they are", "[qcow]") {
  Header header = *header_for({.size = 1 << 20});
  header.refcount_table_offset = HostOffset(0x10000);
  header.refcount_table_clusters = 1;
  header.l1_offset = HostOffset(0x30000);
  header.length = 120;
  header.further_fields.assign(8, std::byte{0x5a});
  header.extensions.push_back({0x12345678, std::vector<std::byte>(13, std::byte{0xa5})});
  std::vector<std::byte> bytes = *encode_header(header);
  bytes.resize(65536);
  Result<Header> again = decode_header(bytes, kFileSize);
  REQUIRE(again);
  std::vector<std::byte> twice = *encode_header(*again);
  twice.resize(65536);
  CHECK((twice == bytes));
  CHECK(again->extensions.back().type == 0x12345678);
}

TEST_CASE("Header: clusters of 512 bytes have room for a backing file's name", "[qcow]") {
  Header header = *header_for(
      {.size = 1 << 20, .cluster_size = 512, .backing_file = "base", .backing_format = "qcow2"});
  REQUIRE(header.find(ExtensionType::kFeatureNames) != nullptr);
  header.refcount_table_offset = HostOffset(512);
  header.refcount_table_clusters = 1;
  header.l1_offset = HostOffset(1024);
  const Result<std::vector<std::byte>> bytes = encode_header(header);
  REQUIRE(bytes);
  std::vector<std::byte> cluster = *bytes;
  cluster.resize(512);
  const Result<Header> read = decode_header(cluster, 1 << 20);
  REQUIRE(read);
  CHECK(read->backing_file == "base");
  CHECK(read->text(ExtensionType::kBackingFormat) == "qcow2");
  CHECK(read->find(ExtensionType::kFeatureNames) == nullptr);
  header.backing_file = std::string(500, 'b');
  CHECK(!encode_header(header));
}

TEST_CASE("Header: a short header of an older program keeps its length", "[qcow]") {
  std::vector<std::byte> bytes = sound_header();
  store_be<std::uint32_t>(bytes.data() + 100, 104);
  store_be<std::uint64_t>(bytes.data() + 104, 0);  // no extensions
  Result<Header> header = decode_header(bytes, kFileSize);
  REQUIRE(header);
  CHECK(encode_header(*header)->size() == 112);
}

TEST_CASE("Header: a feature's name cannot play with the terminal", "[qcow]") {
  Header header = *header_for({.size = 1 << 20});
  for (Extension& extension : header.extensions) {
    extension.data[0] = std::byte{0};
    extension.data[1] = std::byte{7};
    extension.data[2] = std::byte{0x1b};
  }
  CHECK(header.feature_name(0, 7) == "'?irty bit'");
  CHECK(header.feature_name(0, 9) == "incompatible feature bit 9");
}

}  // namespace
}  // namespace vmm::disk::qcow
