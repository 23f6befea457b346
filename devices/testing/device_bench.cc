// SPDX-License-Identifier: Apache-2.0
#include "devices/testing/device_bench.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "vmm/core/log.h"

namespace vmm::testing {
namespace {

GuestMemory make_memory(const GuestMemory::Backing& backing) {
  const GuestMemory::Range range{GuestAddress(0), DeviceBench::kMemory};
  return *GuestMemory::create(std::span(&range, 1), backing);
}

}  // namespace

DeviceBench::DeviceBench(EventLoop& event_loop, const GuestMemory::Backing& backing)
    : loop(event_loop), memory(make_memory(backing)) {
  // What hostile tests provoke would bury what went wrong.
  log::set_level(log::Level::kError);
}

void DeviceBench::attach(virtio::Device& virtio_device, bool ioeventfd) {
  FakeKickRegistrar* registrar = ioeventfd ? &kicks : nullptr;
  device = &virtio_device;
  transport = *virtio::PciTransport::create(virtio_device, msi, registrar);
  unsigned slot = *root.attach(*transport);
  driver = std::make_unique<PciDriver>(buses, slot, registrar);
}

void DeviceBench::start(std::uint64_t features) {
  features &= driver->device_features();
  if (!driver->negotiate(features)) std::abort();
  driver->enable_msix();
  queues.clear();
  for (std::uint16_t i = 0; i < device->nr_queues(); ++i) {
    queues.push_back(
        std::make_unique<QueueDriver>(memory, arena, device->max_queue_size(i), features));
    auto vector = static_cast<std::uint16_t>(i + 1);
    driver->set_vector(vector, 0xfee00000, 0x40u + i, false);
    driver->set_up_queue(i, queues[i]->layout(), vector);
  }
  driver->set_vector(0, 0xfee00000, 0x30, false);
  driver->set_common(kConfigMsixVector, 2, 0);
  driver->driver_ok();
}

void DeviceBench::fill(GuestAddress at, std::uint32_t length, std::uint8_t value) {
  std::span<std::byte> bytes = *memory.slice(at, length);
  std::fill(bytes.begin(), bytes.end(), std::byte{value});
}

bool DeviceBench::filled(GuestAddress at, std::uint32_t length, std::uint8_t value) const {
  std::span<std::byte> bytes = *memory.slice(at, length);
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](std::byte byte) { return byte == std::byte{value}; });
}

void DeviceBench::stop() {
  std::atomic<bool> stopped = false;
  std::thread stopper([&] {
    transport->stop();
    stopped = true;
  });
  if (!wait_for([&] {
        std::this_thread::yield();
        return stopped.load();
      })) {
    std::abort();
  }
  stopper.join();
}

}  // namespace vmm::testing
