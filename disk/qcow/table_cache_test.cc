// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/table_cache.h"

#include "disk/testing/memory_storage.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow {
namespace {

constexpr std::uint32_t kSlice = 512;

struct Fixture {
  explicit Fixture(std::size_t capacity, unsigned delay = 0)
      : loop(*EventLoop::create()),
        storage(*loop, bytes, delay),
        cache(*loop, storage, "L2 table", kSlice, capacity, nullptr) {
    bytes->data.resize(64 * kSlice);
    for (std::size_t i = 0; i < 64; ++i) bytes->data[i * kSlice] = static_cast<std::byte>(i);
  }
  TableCache::Ref get(std::uint64_t slice) {
    Result<TableCache::Ref> ref = loop->run_until(cache.get(HostOffset(slice * kSlice)));
    REQUIRE(ref);
    return *std::move(ref);
  }
  void change(std::uint64_t slice, int value) {
    TableCache::Ref ref = get(slice);
    ref.data()[1] = static_cast<std::byte>(value);
    ref.mark_dirty();
  }
  bool cached(std::uint64_t slice) {
    return static_cast<bool>(cache.find(HostOffset(slice * kSlice)));
  }

  std::unique_ptr<EventLoop> loop;
  std::shared_ptr<MemoryStorage::Bytes> bytes = std::make_shared<MemoryStorage::Bytes>();
  MemoryStorage storage;
  TableCache cache;
};

TEST_CASE("TableCache: a hit reads nothing and counts as one", "[qcow]") {
  Fixture f(4);
  CHECK(f.get(3).data()[0] == std::byte{3});
  CHECK(f.get(3).data()[0] == std::byte{3});
  CHECK(f.bytes->nr_reads == 1);
  CHECK(f.cache.stats().hits == 1);
  CHECK(f.cache.stats().misses == 1);
}

TEST_CASE("TableCache: the entry that was used least recently goes first", "[qcow]") {
  Fixture f(3);
  for (std::uint64_t slice : {1, 2, 3, 1, 4}) f.get(slice);
  CHECK(f.cached(1));
  CHECK(!f.cached(2));
  CHECK(f.cached(3));
  CHECK(f.cached(4));
  CHECK(f.cache.stats().evictions == 1);
}

TEST_CASE("TableCache: pinned entries are not evicted", "[qcow]") {
  Fixture f(2);
  TableCache::Ref pinned = f.get(1);
  for (std::uint64_t slice = 2; slice < 20; ++slice) f.get(slice);
  CHECK(f.cached(1));
  CHECK(pinned.data()[0] == std::byte{1});
  CHECK(f.cache.nr_entries() <= 2);
}

TEST_CASE("TableCache: pins may exceed the capacity for as long as they last", "[qcow]") {
  Fixture f(2);
  {
    std::vector<TableCache::Ref> pinned;
    for (std::uint64_t slice = 0; slice < 10; ++slice) pinned.push_back(f.get(slice));
    for (std::uint64_t slice = 0; slice < 10; ++slice) {
      CHECK(pinned[slice].data()[0] == static_cast<std::byte>(slice));
    }
  }
  f.get(30);
  CHECK(f.cache.nr_entries() <= 2);
}

TEST_CASE("TableCache: class I: a dirty entry reaches the file before it is evicted", "[qcow]") {
  Fixture f(2);
  f.change(1, 99);
  for (std::uint64_t slice = 2; slice < 40; ++slice) f.get(slice);
  CHECK(!f.cached(1));
  CHECK(f.bytes->data[kSlice + 1] == std::byte{99});
  CHECK(f.get(1).data()[1] == std::byte{99});
  CHECK(f.cache.stats().write_backs == 1);
}

Task<void> count_loads(TableCache& cache, int& arrived) {
  Result<TableCache::Ref> ref = co_await cache.get(HostOffset(5 * kSlice));
  if (ref && ref->data()[0] == std::byte{5}) ++arrived;
}

TEST_CASE("TableCache: a second miss joins the load under way", "[qcow]") {
  Fixture f(4, 6);
  Gate gate(*f.loop);
  int arrived = 0;
  for (int i = 0; i < 8; ++i) spawn(gate, count_loads(f.cache, arrived));
  f.loop->run_until(gate.close());
  CHECK(arrived == 8);
  CHECK(f.bytes->nr_reads == 1);
}

TEST_CASE("TableCache: a batch holds what stood there when it was taken", "[qcow]") {
  Fixture f(4);
  f.change(1, 10);
  TableCache::Batch batch = f.cache.take_dirty();
  CHECK(f.cache.nr_dirty() == 0);
  f.change(1, 20);
  REQUIRE(f.loop->run_until(f.cache.write(std::move(batch))));
  CHECK(f.bytes->data[kSlice + 1] == std::byte{10});
  CHECK(f.cache.nr_dirty() == 1);
  REQUIRE(f.loop->run_until(f.cache.write_dirty()));
  CHECK(f.bytes->data[kSlice + 1] == std::byte{20});
}

TEST_CASE("TableCache: a batch that is put back is dirty again", "[qcow]") {
  Fixture f(4);
  f.change(1, 10);
  f.cache.put_back(f.cache.take_dirty());
  CHECK(f.cache.nr_dirty() == 1);
  REQUIRE(f.loop->run_until(f.cache.write_dirty()));
  CHECK(f.bytes->data[kSlice + 1] == std::byte{10});
}

TEST_CASE("TableCache: what was dropped is read from the file again", "[qcow]") {
  Fixture f(4);
  f.change(1, 10);
  f.cache.drop(HostOffset(0), 4 * kSlice);
  CHECK(f.cache.nr_dirty() == 0);
  CHECK(f.get(1).data()[1] == std::byte{0});
}

}  // namespace
}  // namespace vmm::disk::qcow
