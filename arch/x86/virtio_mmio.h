// SPDX-License-Identifier: Apache-2.0
// VirtioMmio: a virtio-mmio device as firmware tables describe it.
#pragma once

#include <cstdint>

namespace vmm::x86 {

struct VirtioMmio {
  std::uint64_t address;  // of layout::kVirtioMmioSize bytes of registers, below 4 GiB
  std::uint32_t gsi;      // an edge, active high
};

}  // namespace vmm::x86
