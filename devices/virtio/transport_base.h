// SPDX-License-Identifier: Apache-2.0
// TransportBase: what a driver does with a device is the same through every transport: it
// negotiates features, describes its queues, starts the device and resets it (virtio 1.2, 2.1, 2.2
// and 3.1). Which registers it does that by, and how kicks and interrupts travel, is for the
// classes derived from this one.
//
// How a machine uses any of them: made, attached to a bus, and, when no vCPU runs any more while
// the device's thread still does, stop(). The device must outlive it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include "devices/virtio/device.h"
#include "vmm/core/interrupt.h"
#include "vmm/core/unique_fd.h"

namespace vmm::virtio {

// virtio 1.2, 2.1.
inline constexpr std::uint8_t kStatusAcknowledge = 1;
inline constexpr std::uint8_t kStatusDriver = 2;
inline constexpr std::uint8_t kStatusDriverOk = 4;
inline constexpr std::uint8_t kStatusFeaturesOk = 8;
inline constexpr std::uint8_t kStatusNeedsReset = 64;
inline constexpr std::uint8_t kStatusFailed = 128;

class TransportBase : protected Transport {
 public:
  static constexpr std::uint16_t kMaxQueues = 256;

  ~TransportBase() override;

  // Resets the device and waits until nothing of it is in flight. Not from the device's own thread,
  // and only when no vCPU runs.
  void stop();

  // From any thread.
  void config_changed() override;

 protected:
  struct Queue {
    UniqueFd kick_fd;
    QueueLayout layout;
    bool enabled = false;
    bool bound = false;
  };

  // `kicks` may be null: every notification then leaves the guest, and still works.
  TransportBase(virtio::Device& device, KickRegistrar* kicks);
  // Once, before anything else.
  Result<void> create_queues();

  // For used buffers of a queue; lives as long as the transport.
  virtual Interrupt& queue_interrupt(std::uint16_t index) = 0;
  // From any thread: the driver is to look at the ISR bits (kIsrConfig).
  virtual void signal_config() = 0;
  // Below here, with registers_mutex_ held.
  // Whether queues have notify addresses now; they are these until unbind_kicks().
  virtual bool fix_notify_addresses() { return true; }
  virtual Result<void> bind_kick(std::uint16_t index, int event_fd) = 0;
  virtual Result<void> unbind_kick(std::uint16_t index, int event_fd) = 0;
  virtual void on_clear() {}

  // What interrupts are for (virtio 1.2, 4.1.4.5 and 4.2.2); set and taken without locks.
  static constexpr std::uint8_t kIsrQueue = 1;
  static constexpr std::uint8_t kIsrConfig = 2;
  std::atomic<std::uint8_t> isr_ = 0;

  // Guest-controlled; any thread, no lock.
  void kick(std::uint64_t index);

  // Registers, with registers_mutex_ held. After settle_reset(): while resetting(), writes do
  // nothing.
  void settle_reset();
  bool resetting() const { return resetting_; }
  // False where the reset is not over in time.
  bool wait_for_reset(std::chrono::milliseconds patience);
  std::uint8_t status() const;
  void write_status(std::uint8_t value);
  std::uint8_t config_generation() const;
  std::uint32_t device_feature() const;  // the half that is selected
  std::uint32_t driver_feature() const;
  void write_driver_feature(std::uint32_t value);
  std::size_t nr_queues() const { return queues_.size(); }
  // nullptr where the driver selected none that is there.
  Queue* selected_queue();
  // nullptr too where its layout is fixed.
  Queue* configurable_queue();
  void write_queue_size(Queue& queue, std::uint32_t value);
  std::uint32_t device_feature_select_ = 0;
  std::uint32_t driver_feature_select_ = 0;
  std::uint32_t queue_select_ = 0;

  void bind_kicks();
  void unbind_kicks();

  virtio::Device& device_;
  KickRegistrar* const kicks_;
  std::mutex registers_mutex_;

 private:
  void needs_reset() override;
  void activate();
  void start_reset();
  void clear();

  // Read and written on the device's thread too.
  std::atomic<std::uint8_t> config_generation_ = 0;
  std::atomic<bool> needs_reset_ = false;
  std::vector<std::unique_ptr<Queue>> queues_;  // the vector itself never changes

  // Guarded by registers_mutex_.
  std::uint8_t status_ = 0;
  bool resetting_ = false;
  bool activated_ = false;
  std::uint64_t driver_features_ = 0;
  std::future<void> reset_over_;
};

// One 32-bit half of a 64-bit register: 0 the low one, 1 the high one; there are no others.
std::uint32_t half(std::uint64_t value, std::uint32_t select);
void set_half(std::uint64_t& value, std::uint32_t select, std::uint32_t part);

}  // namespace vmm::virtio
