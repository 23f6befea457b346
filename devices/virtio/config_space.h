// SPDX-License-Identifier: Apache-2.0
// What a driver reads of a device's configuration space, whose registers lie as in a structure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace vmm::virtio {

// Device::read_config() of a device that has `config` there. Offset and size are guest-controlled.
template <class Config>
void read_config_of(const Config& config, std::uint64_t offset, std::span<std::byte> data) {
  static_assert(std::is_trivially_copyable_v<Config>);
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset >= sizeof config) return;
  const auto bytes = std::as_bytes(std::span(&config, 1)).subspan(offset);
  std::copy_n(bytes.begin(), std::min(data.size(), bytes.size()), data.begin());
}

}  // namespace vmm::virtio
