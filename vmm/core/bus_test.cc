// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/bus.h"

#include <algorithm>
#include <limits>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

struct Recorder : BusDevice {
  std::uint64_t last_offset = 0;
  void read(std::uint64_t offset, std::span<std::byte> data) override {
    last_offset = offset;
    std::fill(data.begin(), data.end(), std::byte{0x5a});
  }
  void write(std::uint64_t offset, std::span<const std::byte>) override { last_offset = offset; }
};

TEST_CASE("Bus: an access reaches the device at its offset", "[core]") {
  Bus bus("port");
  Recorder low, high;
  REQUIRE(bus.insert(0x3f8, 8, low));
  REQUIRE(bus.insert(0x400, 4, high));
  std::byte data[2];
  CHECK(bus.read(0x3fa, data));
  CHECK(low.last_offset == 2);
  CHECK(data[1] == std::byte{0x5a});
  CHECK(bus.write(0x402, data));
  CHECK(high.last_offset == 2);
}

TEST_CASE("Bus: nobody answers outside every range, and reads give all ones", "[core]") {
  Bus bus("MMIO");
  Recorder device;
  REQUIRE(bus.insert(0x1000, 0x10, device));
  std::byte data[4] = {};
  CHECK(!bus.read(0xfff, data));
  CHECK(data[0] == std::byte{0xff});
  CHECK(!bus.read(0x100e, data));  // the last two bytes leave the range
  CHECK(!bus.write(0x1010, data));
  CHECK(!bus.write(std::numeric_limits<std::uint64_t>::max(), data));
}

TEST_CASE("Bus: overlapping ranges are refused", "[core]") {
  Bus bus("port");
  Recorder device;
  REQUIRE(bus.insert(0x100, 0x10, device));
  CHECK(!bus.insert(0x100, 0x10, device));
  CHECK(!bus.insert(0x10f, 1, device));
  CHECK(!bus.insert(0xff, 2, device));
  CHECK(bus.insert(0xff, 1, device));
  CHECK(bus.insert(0x110, 1, device));
}

}  // namespace
}  // namespace vmm
