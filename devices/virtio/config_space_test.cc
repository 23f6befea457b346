// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/config_space.h"

#include <array>
#include <limits>

#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

TEST_CASE("Configuration space: what lies behind its end reads as zeros, whatever the offset",
          "[virtio]") {
  const std::array<std::uint8_t, 4> config = {1, 2, 3, 4};
  const auto read = [&](std::uint64_t offset) {
    std::array<std::uint8_t, 3> data = {0xff, 0xff, 0xff};
    read_config_of(config, offset, std::as_writable_bytes(std::span(data)));
    return data;
  };
  using Bytes = std::array<std::uint8_t, 3>;
  CHECK(read(0) == Bytes{1, 2, 3});
  CHECK(read(2) == Bytes{3, 4, 0});
  CHECK(read(4) == Bytes{0, 0, 0});
  CHECK(read(std::numeric_limits<std::uint64_t>::max()) == Bytes{0, 0, 0});
}

}  // namespace
}  // namespace vmm::virtio
