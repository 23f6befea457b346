// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/byte_order.h"

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

struct OnDisk {
  std::uint8_t tag;
  Be32 big;
  Le16 little;
};
static_assert(sizeof(OnDisk) == 7, "ordered integers bring no padding");

TEST_CASE("byte_order: fields hold the byte order of their type", "[core]") {
  OnDisk disk{.tag = 1, .big = 0x11223344u, .little = std::uint16_t{0x5566}};
  const auto* raw = reinterpret_cast<const unsigned char*>(&disk);
  CHECK(raw[1] == 0x11);
  CHECK(raw[4] == 0x44);
  CHECK(raw[5] == 0x66);
  CHECK(disk.big == 0x11223344u);
}

TEST_CASE("byte_order: load and store work unaligned", "[core]") {
  unsigned char raw[9] = {};
  store_be<std::uint64_t>(raw + 1, 0x0102030405060708u);
  CHECK(raw[1] == 1);
  CHECK(raw[8] == 8);
  CHECK(load_be<std::uint64_t>(raw + 1) == 0x0102030405060708u);
  CHECK(load_le<std::uint16_t>(raw + 1) == 0x0201u);
}

}  // namespace
}  // namespace vmm
