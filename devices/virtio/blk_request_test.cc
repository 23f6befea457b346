// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/blk_request.h"

#include <utility>
#include <vector>

#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

constexpr std::uint64_t kAll = kBlkDiscard | kBlkWriteZeroes | kBlkFlush;
const BlkLimits kLimits{.nr_sectors = 1000, .read_only = false, .features = kAll};

// A request as bytes, cut into buffers as a driver likes.
struct Wire {
  Wire(std::uint32_t type, std::uint64_t sector, std::size_t out = 0, std::size_t in = 0)
      : readable(16 + out), writable(in + 1) {
    store_le(readable.data(), type);
    store_le(readable.data() + 8, sector);
  }
  BlkRequest parse(const BlkLimits& limits = kLimits) {
    read_iov = cut(readable, read_cuts);
    write_iov = cut(writable, write_cuts);
    return BlkRequest::parse(read_iov, write_iov, limits);
  }
  static std::vector<iovec> cut(std::vector<std::byte>& bytes,
                                const std::vector<std::size_t>& cuts) {
    std::vector<iovec> iov;
    std::size_t at = 0;
    for (std::size_t size : cuts) {
      iov.push_back({bytes.data() + at, size});
      at += size;
    }
    if (at < bytes.size()) iov.push_back({bytes.data() + at, bytes.size() - at});
    return iov;
  }

  std::vector<std::byte> readable, writable;
  std::vector<std::size_t> read_cuts, write_cuts;
  std::vector<iovec> read_iov, write_iov;
};

TEST_CASE("BlkRequest: a read is parsed however its buffers are cut", "[blk]") {
  for (const auto& [reads, writes] :
       std::vector<std::pair<std::vector<std::size_t>, std::vector<std::size_t>>>{
           {{16}, {1024}}, {{}, {}}, {{1, 7, 8}, {512, 1, 511}}, {{3, 13}, {1000}}}) {
    Wire wire(0, 7, 0, 1024);
    wire.read_cuts = reads;
    wire.write_cuts = writes;
    BlkRequest request = wire.parse();
    CHECK(request.verdict == BlkStatus::kOk);
    CHECK(request.type == BlkType::kIn);
    CHECK(request.offset == 7 * 512);
    CHECK(request.length == 1024);
    CHECK(total_size(request.data) == 1024);
    CHECK(request.data.front().iov_base == wire.writable.data());
    CHECK(request.status == wire.writable.data() + 1024);
    CHECK(request.nr_written(BlkStatus::kOk) == 1025);
    CHECK(request.nr_written(BlkStatus::kIoError) == 0);
  }
}

TEST_CASE("BlkRequest: a write takes its data from behind the header", "[blk]") {
  Wire wire(1, 998, 1024);
  wire.read_cuts = {20, 500};
  BlkRequest request = wire.parse();
  CHECK(request.verdict == BlkStatus::kOk);
  CHECK(request.data.front().iov_base == wire.readable.data() + 16);
  CHECK(total_size(request.data) == 1024);
  CHECK(request.nr_written(BlkStatus::kOk) == 1);
  CHECK(request.nr_written(BlkStatus::kIoError) == 1);
}

TEST_CASE("BlkRequest: transfers beyond the end, of part sectors or too large are errors",
          "[blk]") {
  CHECK(Wire(0, 999, 0, 512).parse().verdict == BlkStatus::kOk);
  CHECK(Wire(0, 999, 0, 1024).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(1, 1000, 512).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(0, ~std::uint64_t{0}, 0, 512).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(0, ~std::uint64_t{0} / 512, 0, 512).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(1, 0, 511).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(0, 0, 0, 513).parse().verdict == BlkStatus::kIoError);

  // The same buffer over and over: more than may be carried.
  Wire wire(1, 0);
  std::vector<std::byte> data(1 << 20);
  std::vector<iovec> readable{{wire.readable.data(), 16}};
  for (int i = 0; i < 1025; ++i) readable.push_back({data.data(), data.size()});
  std::vector<iovec> writable{{wire.writable.data(), 1}};
  BlkLimits huge{.nr_sectors = std::uint64_t{1} << 40};
  CHECK(BlkRequest::parse(readable, writable, huge).verdict == BlkStatus::kIoError);
}

TEST_CASE("BlkRequest: an unknown type is unsupported", "[blk]") {
  for (std::uint32_t type : {2u, 3u, 5u, 7u, 10u, 12u, 14u, 0x80000000u, 0xffffffffu}) {
    Wire wire(type, 0, 512, 512);
    BlkRequest request = wire.parse();
    CHECK(request.verdict == BlkStatus::kUnsupported);
    CHECK(request.status != nullptr);
  }
}

TEST_CASE("BlkRequest: a request cut short gets an error where there is room for one", "[blk]") {
  std::vector<std::byte> bytes(16);
  std::vector<iovec> none;
  for (std::size_t size = 1; size < 16; ++size) {
    std::vector<iovec> readable{{bytes.data(), size}};
    std::vector<iovec> writable{{bytes.data(), 1}};
    BlkRequest request = BlkRequest::parse(readable, writable, kLimits);
    CHECK(request.verdict == BlkStatus::kIoError);
    CHECK(request.status == bytes.data());
  }
  std::vector<iovec> readable{{bytes.data(), 16}};
  CHECK(BlkRequest::parse(readable, none, kLimits).status == nullptr);
  CHECK(BlkRequest::parse(none, none, kLimits).status == nullptr);
}

TEST_CASE("BlkRequest: a read-only disk refuses what would change it, and takes a flush", "[blk]") {
  BlkLimits limits = kLimits;
  limits.read_only = true;
  CHECK(Wire(1, 0, 512).parse(limits).verdict == BlkStatus::kIoError);
  CHECK(Wire(11, 0, 16).parse(limits).verdict == BlkStatus::kIoError);
  CHECK(Wire(13, 0, 16).parse(limits).verdict == BlkStatus::kIoError);
  CHECK(Wire(0, 0, 0, 512).parse(limits).verdict == BlkStatus::kOk);
  CHECK(Wire(4, 0).parse(limits).verdict == BlkStatus::kOk);
}

Wire ranges(std::uint32_t type, std::uint64_t sector, std::uint32_t nr_sectors,
            std::uint32_t flags) {
  Wire wire(type, 0, 16);
  store_le(wire.readable.data() + 16, sector);
  store_le(wire.readable.data() + 24, nr_sectors);
  store_le(wire.readable.data() + 28, flags);
  return wire;
}

BlkStatus range_verdict(Wire wire) {
  BlkRequest request = wire.parse();
  if (request.verdict != BlkStatus::kOk) return request.verdict;
  return request.range(0, kLimits).verdict;
}

TEST_CASE("BlkRequest: ranges to discard or zero are checked one by one", "[blk]") {
  Wire wire = ranges(13, 10, 20, 1);
  BlkRequest request = wire.parse();
  REQUIRE(request.nr_ranges() == 1);
  BlkRange range = request.range(0, kLimits);
  CHECK(range.verdict == BlkStatus::kOk);
  CHECK(range.offset == 5120);
  CHECK(range.length == 10240);
  CHECK(range.unmap);

  CHECK(range_verdict(ranges(11, 10, 20, 0)) == BlkStatus::kOk);
  CHECK(range_verdict(ranges(11, 10, 20, 1)) == BlkStatus::kUnsupported);
  CHECK(range_verdict(ranges(13, 10, 20, 2)) == BlkStatus::kUnsupported);
  CHECK(range_verdict(ranges(13, 990, 11, 0)) == BlkStatus::kIoError);
  CHECK(range_verdict(ranges(13, ~std::uint64_t{0}, 1, 0)) == BlkStatus::kIoError);
  CHECK(range_verdict(ranges(13, 0, 0xffffffff, 0)) == BlkStatus::kIoError);
}

TEST_CASE("BlkRequest: lists of ranges that are empty, ragged or long are errors", "[blk]") {
  CHECK(Wire(11, 0, 0).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(11, 0, 15).parse().verdict == BlkStatus::kIoError);
  CHECK(Wire(11, 0, 16 * 16).parse().verdict == BlkStatus::kOk);
  CHECK(Wire(11, 0, 16 * 17).parse().verdict == BlkStatus::kIoError);
  BlkLimits plain = kLimits;
  plain.features = 0;
  CHECK(Wire(11, 0, 16).parse(plain).verdict == BlkStatus::kUnsupported);
  CHECK(Wire(13, 0, 16).parse(plain).verdict == BlkStatus::kUnsupported);
}

}  // namespace
}  // namespace vmm::virtio
