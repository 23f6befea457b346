// SPDX-License-Identifier: Apache-2.0
// What can be seen without the kernel's module; `linux` vsock has the device at work.
#include "devices/virtio/vhost_vsock.h"

#include <fcntl.h>

#include "devices/virtio/vhost_rings.h"
#include "vmm/core/testing/catch.h"

namespace vmm::virtio {
namespace {

GuestMemory small_memory() {
  const GuestMemory::Range range{GuestAddress(0), 1 << 20};
  return *GuestMemory::create(std::span(&range, 1));
}

TEST_CASE("VhostVsock: a file that is no vhost device is an error", "[virtio]") {
  const GuestMemory memory = small_memory();
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Result<std::unique_ptr<VhostVsock>> vsock =
      VhostVsock::create(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), 3, *loop, memory);
  REQUIRE_FALSE(vsock);
  CHECK(vsock.error().message().find("VHOST_SET_OWNER") != std::string::npos);
}

TEST_CASE("vhost: rings outside of the guest's memory are refused", "[virtio]") {
  const GuestMemory memory = small_memory();
  const GuestAddress inside(0x4000);
  const GuestAddress outside(std::uint64_t{1} << 40), last(~std::uint64_t{0} - 100);
  QueueLayout good;
  good.size = 16;
  good.descriptors = good.driver_area = good.device_area = inside;
  Result<vhost_vring_addr> address = vhost_ring_addresses(1, good, memory);
  REQUIRE(address);
  CHECK(address->index == 1);
  CHECK(address->desc_user_addr ==
        reinterpret_cast<std::uint64_t>(memory.slice(inside, 1)->data()));
  for (GuestAddress QueueLayout::*ring :
       {&QueueLayout::descriptors, &QueueLayout::driver_area, &QueueLayout::device_area}) {
    for (GuestAddress bad : {outside, last}) {
      QueueLayout layout = good;
      layout.*ring = bad;
      Result<vhost_vring_addr> refused = vhost_ring_addresses(0, layout, memory);
      REQUIRE_FALSE(refused);
      CHECK(refused.error().kind() == ErrorKind::kOutOfRange);
    }
  }
}

}  // namespace
}  // namespace vmm::virtio
