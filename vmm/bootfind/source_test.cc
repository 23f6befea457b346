// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "vmm/bootfind/source.h"

#include "vmm/bootfind/testing/memory_source.h"
#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

MemorySource pattern(std::size_t size) {
  MemorySource source(size);
  for (std::size_t i = 0; i < size; ++i)
    source.bytes()[i] = static_cast<std::byte>(i * 7 + i / 256);
  return source;
}

class CountingSource : public Source {
 public:
  explicit CountingSource(Source& below) : below_(below) {}
  std::uint64_t size() const override { return below_.size(); }
  Result<void> read(std::uint64_t offset, std::span<std::byte> to) override {
    ++nr_reads;
    return below_.read(offset, to);
  }
  unsigned nr_reads = 0;

 private:
  Source& below_;
};

}  // namespace

TEST_CASE("CachedSource: bytes are those of the source below, over slot borders and at the end",
          "[bootfind]") {
  MemorySource below = pattern(5 * CachedSource::kSlotSize + 123);
  CachedSource cached(below, 2);
  for (std::size_t offset : {std::size_t{0}, CachedSource::kSlotSize - 3,
                             3 * CachedSource::kSlotSize, 5 * CachedSource::kSlotSize + 100}) {
    std::vector<std::byte> bytes(std::min<std::size_t>(100'000, below.size() - offset));
    REQUIRE(cached.read(offset, bytes).has_value());
    CHECK(
        std::equal(bytes.begin(), bytes.end(), below.bytes().begin() + static_cast<long>(offset)));
  }
}

TEST_CASE("CachedSource: small reads in a row cost one read below", "[bootfind]") {
  MemorySource memory = pattern(CachedSource::kSlotSize);
  CountingSource below(memory);
  CachedSource cached(below);
  std::byte block[512];
  for (std::uint64_t at = 0; at < memory.size(); at += sizeof block)
    REQUIRE(cached.read(at, block));
  CHECK(below.nr_reads == 1);
}

TEST_CASE("Sources: what does not lie inside is refused, whatever the numbers", "[bootfind]") {
  MemorySource memory = pattern(1000);
  CachedSource cached(memory);
  PartSource part(memory, 500, 100);
  std::byte bytes[64];
  for (Source* source : {static_cast<Source*>(&cached), static_cast<Source*>(&part)}) {
    CHECK_FALSE(source->read(source->size() - 63, bytes).has_value());
    CHECK_FALSE(source->read(~0ULL, bytes).has_value());
    CHECK_FALSE(source->read(~0ULL - 10, bytes).has_value());
    CHECK(source->read(source->size() - 64, bytes).has_value());
    CHECK(source->read(source->size(), std::span(bytes).first(0)).has_value());
  }
}

TEST_CASE("PartSource: a part that reaches beyond the disk is cut off", "[bootfind]") {
  MemorySource memory = pattern(1000);
  CHECK(PartSource(memory, 900, 500).size() == 100);
  CHECK(PartSource(memory, 2000, 500).size() == 0);
  CHECK(PartSource(memory, 100, ~0ULL).size() == 900);
  std::byte byte[1];
  PartSource part(memory, 900, 500);
  REQUIRE(part.read(7, byte).has_value());
  CHECK(byte[0] == memory.bytes()[907]);
}

}  // namespace vmm::bootfind
