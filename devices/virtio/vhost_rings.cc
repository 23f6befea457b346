// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vhost_rings.h"

namespace vmm::virtio {
namespace {

// Sizes of the rings: virtio 1.2, 2.7. Six bytes of each are flags, index and event.
constexpr std::uint64_t kDescriptorSize = 16, kUsedSize = 8;

std::uint64_t address_of(std::span<std::byte> bytes) {
  return reinterpret_cast<std::uint64_t>(bytes.data());
}

}  // namespace

Result<vhost_vring_addr> vhost_ring_addresses(unsigned index, const QueueLayout& layout,
                                              const GuestMemory& memory) {
  VMM_TRY(const std::span<std::byte> descriptors,
          memory.slice(layout.descriptors, kDescriptorSize * layout.size));
  VMM_TRY(const std::span<std::byte> available,
          memory.slice(layout.driver_area, 6 + sizeof(std::uint16_t) * layout.size));
  VMM_TRY(const std::span<std::byte> used,
          memory.slice(layout.device_area, 6 + kUsedSize * layout.size));
  return vhost_vring_addr{.index = index,
                          .flags = 0,
                          .desc_user_addr = address_of(descriptors),
                          .used_user_addr = address_of(used),
                          .avail_user_addr = address_of(available),
                          .log_guest_addr = 0};
}

}  // namespace vmm::virtio
