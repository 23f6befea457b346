// SPDX-License-Identifier: Apache-2.0
// virtio::Device: what a transport (PCI, MMIO) needs to know of a device, whatever it does.
//
// Who calls on which thread: the transport calls all of Device's members on vCPU threads, one at a
// time (it holds its lock); the device does its work elsewhere, on its event loop, and calls
// Transport's members from there.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "devices/virtio/queue.h"
#include "vmm/core/interrupt.h"

namespace vmm::virtio {

// virtio 1.2, 5.
enum class DeviceType : std::uint16_t {
  kNet = 1,
  kBlock = 2,
  kConsole = 3,
  kEntropy = 4,
  kBalloon = 5,
  kVsock = 19,
  kFs = 26,
};

// What a device tells its transport; from any thread, without locks.
class Transport {
 public:
  virtual ~Transport() = default;
  // The driver broke the rules so that nothing more can be made of its queues: DEVICE_NEEDS_RESET.
  virtual void needs_reset() = 0;
  // The device's configuration space changed by itself.
  virtual void config_changed() = 0;
};

struct ActiveQueue {
  std::uint16_t index = 0;
  QueueLayout layout;
  int kick_fd = -1;                // an eventfd, owned by the transport
  Interrupt* interrupt = nullptr;  // for used buffers; lives as long as the transport
};

// What a driver has set up by the time it says DRIVER_OK.
struct Activation {
  std::uint64_t features = 0;
  std::vector<ActiveQueue> queues;  // those that the driver enabled
  Transport* transport = nullptr;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceType type() const = 0;
  virtual std::uint32_t pci_class() const = 0;  // 0xBBSSII
  // The bits of this device type; those of queues and of the transport are the transport's to
  // offer.
  virtual std::uint64_t features() const = 0;
  virtual std::uint16_t nr_queues() const = 0;
  virtual std::uint16_t max_queue_size(std::uint16_t index) const = 0;

  // The device's configuration space. Offset and size are guest-controlled: what is not there reads
  // as zeros, and writes to it do nothing.
  virtual void read_config(std::uint64_t offset, std::span<std::byte> data) const = 0;
  virtual void write_config(std::uint64_t offset, std::span<const std::byte> data) = 0;

  // FEATURES_OK: the driver accepted these.
  virtual void set_driver_features(std::uint64_t /*features*/) {}
  // DRIVER_OK. Comes back at once.
  virtual void activate(Activation activation) = 0;
  // Comes back at once. `done` is called, on any thread, when no request is in flight any more and
  // the rings and buffers are not touched again; the device itself is not touched after it either.
  // May be called in any state.
  virtual void reset(std::function<void()> done) = 0;
};

}  // namespace vmm::virtio
