// SPDX-License-Identifier: Apache-2.0
// PCI configuration space by mechanism #1.
#pragma once

#include <cstdint>

#include "guest-tests/bare/lib/io.h"

namespace guest {

inline constexpr unsigned kNoSlot = 0;  // the host bridge's: no device is there

std::uint32_t read_config(unsigned slot, unsigned offset);  // 4 bytes, aligned
void write_config(unsigned slot, unsigned offset, std::uint32_t value);
std::uint8_t read_config8(unsigned slot, unsigned offset);
void write_config16(unsigned slot, unsigned offset, std::uint16_t value);

// The first device with this vendor and device id, from slot `from` on, or kNoSlot.
unsigned find_device(std::uint32_t device_and_vendor, unsigned from = 1);
// The offset of a capability, or 0; for vendor capabilities (9) of that virtio type.
unsigned find_capability(unsigned slot, unsigned id, unsigned virtio_type = 0);
std::uint64_t bar_address(unsigned slot, unsigned bar);

}  // namespace guest
