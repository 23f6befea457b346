// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vhost.h"

#include <fmt/core.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "devices/virtio/vhost_rings.h"
#include "vmm/core/vhost_abi.h"

namespace vmm::virtio {

template <class Argument>
Result<void> Vhost::set(unsigned long request, const char* name, const Argument& argument) {
  if (::ioctl(device_.get(), request, &argument) == 0) return {};
  return fail_errno(errno, name);
}

Result<std::uint64_t> Vhost::begin() {
  if (::ioctl(device_.get(), VHOST_SET_OWNER) != 0) return fail_errno(errno, "VHOST_SET_OWNER");
  if (::ioctl(device_.get(), VHOST_GET_FEATURES, &features_) != 0) {
    return fail_errno(errno, "VHOST_GET_FEATURES");
  }
  if ((features_ & kVhostWantedFeatures) != kVhostWantedFeatures) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("the host's kernel is too old: its vhost has features {:#x} and needs "
                            "{:#x}",
                            features_, kVhostWantedFeatures));
  }
  return features_;
}

Result<void> Vhost::set_driver_features(std::uint64_t features) {
  return set(VHOST_SET_FEATURES, "VHOST_SET_FEATURES", features & features_);
}

Result<void> Vhost::set_memory(const GuestMemory& memory) {
  // The header has an array without a length at its end.
  std::vector<vhost_memory_region> regions;
  for (const GuestMemory::Region& region : memory.regions()) {
    regions.push_back({.guest_phys_addr = region.start.value,
                       .memory_size = region.size,
                       .userspace_addr = reinterpret_cast<std::uint64_t>(region.host),
                       .flags_padding = 0});
  }
  vhost_memory head;  // clang takes no initializer for it
  head.nregions = static_cast<std::uint32_t>(regions.size());
  head.padding = 0;
  const std::size_t size = regions.size() * sizeof regions[0];
  std::vector<std::byte> table(sizeof head + size);
  std::memcpy(table.data(), &head, sizeof head);
  std::memcpy(table.data() + sizeof head, regions.data(), size);
  return set(VHOST_SET_MEM_TABLE, "VHOST_SET_MEM_TABLE", *table.data());
}

Result<void> Vhost::set_queue(unsigned index, const QueueLayout& layout, const GuestMemory& memory,
                              int kick_fd, int call_fd) {
  VMM_TRY(const vhost_vring_addr address, vhost_ring_addresses(index, layout, memory));
  VMM_CHECK(set(VHOST_SET_VRING_NUM, "VHOST_SET_VRING_NUM",
                vhost_vring_state{.index = index, .num = layout.size}));
  VMM_CHECK(set(VHOST_SET_VRING_BASE, "VHOST_SET_VRING_BASE",
                vhost_vring_state{.index = index, .num = 0}));
  VMM_CHECK(set(VHOST_SET_VRING_ADDR, "VHOST_SET_VRING_ADDR", address));
  VMM_CHECK(set(VHOST_SET_VRING_CALL, "VHOST_SET_VRING_CALL",
                vhost_vring_file{.index = index, .fd = call_fd}));
  return set(VHOST_SET_VRING_KICK, "VHOST_SET_VRING_KICK",
             vhost_vring_file{.index = index, .fd = kick_fd});
}

void Vhost::forget_queue(unsigned index) {
  const vhost_vring_file none = {.index = index, .fd = VHOST_FILE_UNBIND};
  ::ioctl(device_.get(), VHOST_SET_VRING_KICK, &none);
  ::ioctl(device_.get(), VHOST_SET_VRING_CALL, &none);
}

}  // namespace vmm::virtio
