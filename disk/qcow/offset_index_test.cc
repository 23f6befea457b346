// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/offset_index.h"

#include <map>
#include <random>

#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow {
namespace {

TEST_CASE("OffsetIndex: an empty one finds nothing", "[qcow]") {
  OffsetIndex<int> index;
  CHECK(index.find(0) == nullptr);
  index.erase(4096);
  CHECK(index.size() == 0);
}

TEST_CASE("OffsetIndex: offset 0 is an offset like any other", "[qcow]") {
  OffsetIndex<int> index;
  int object = 1;
  index.insert(0, &object);
  CHECK(index.find(0) == &object);
  CHECK(index.find(4096) == nullptr);
}

TEST_CASE("OffsetIndex: after any insertions and removals it finds what a map finds", "[qcow]") {
  const unsigned shift = GENERATE(9u, 12u, 16u, 33u, 52u);  // of offsets; at 33 and 52 bits collide
  std::mt19937 random(shift);
  OffsetIndex<int> index;
  std::map<std::uint64_t, int*> expected;
  std::vector<int> objects(512);
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t number = random() % objects.size();
    const std::uint64_t offset = number << shift;
    const bool grows = step % 4000 < 2000;
    if (!expected.contains(offset) && (grows || random() % 4 == 0)) {
      index.insert(offset, &objects[number]);
      expected[offset] = &objects[number];
    } else {
      index.erase(offset);
      expected.erase(offset);
    }
    REQUIRE(index.size() == expected.size());
    if (step % 100 != 0) continue;
    for (std::uint64_t i = 0; i < objects.size(); ++i) {
      const auto found = expected.find(i << shift);
      REQUIRE(index.find(i << shift) == (found == expected.end() ? nullptr : found->second));
    }
  }
}

}  // namespace
}  // namespace vmm::disk::qcow
