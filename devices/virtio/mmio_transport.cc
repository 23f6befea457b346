// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/mmio_transport.h"

#include <algorithm>

#include "vmm/core/byte_order.h"

namespace vmm::virtio {
namespace {

// virtio 1.2, 4.2.2. Each is 32 bits wide; 64-bit ones are two, the low half first.
enum Register : std::uint64_t {
  kMagic = 0x000,
  kVersion = 0x004,
  kDeviceId = 0x008,
  kVendorId = 0x00c,
  kDeviceFeatures = 0x010,
  kDeviceFeaturesSel = 0x014,
  kDriverFeatures = 0x020,
  kDriverFeaturesSel = 0x024,
  kQueueSel = 0x030,
  kQueueNumMax = 0x034,
  kQueueNum = 0x038,
  kQueueReady = 0x044,
  kQueueNotify = 0x050,
  kInterruptStatus = 0x060,
  kInterruptAck = 0x064,
  kStatus = 0x070,
  kQueueDesc = 0x080,
  kQueueDriver = 0x090,
  kQueueDevice = 0x0a0,
  kShmLen = 0x0b0,
  kShmBase = 0x0b8,
  kConfigGeneration = 0x0fc,
  kConfig = 0x100,
};

constexpr std::uint32_t kMagicValue = 0x74726976;   // "virt"
constexpr std::uint32_t kVendorValue = 0x204d4d56;  // "VMM "
constexpr std::uint32_t kVersionValue = 2;
constexpr std::uint32_t kNoSharedMemory = 0xffffffff;  // 4.2.2.1: a region that is not there

bool is_register(std::uint64_t offset, std::size_t size) {
  return size == 4 && offset % 4 == 0;
}

}  // namespace

Result<std::unique_ptr<MmioTransport>> MmioTransport::create(
    virtio::Device& device, Interrupt& line, KickRegistrar* kicks, GuestAddress address,
    std::chrono::milliseconds reset_patience) {
  std::unique_ptr<MmioTransport> transport(
      new MmioTransport(device, line, kicks, address, reset_patience));
  VMM_CHECK(transport->create_queues());
  return transport;
}

MmioTransport::MmioTransport(virtio::Device& device, Interrupt& line, KickRegistrar* kicks,
                             GuestAddress address, std::chrono::milliseconds reset_patience)
    : TransportBase(device, kicks),
      line_(line),
      notify_(address + kQueueNotify),
      reset_patience_(reset_patience) {
}

MmioTransport::~MmioTransport() = default;

// Interrupts, on any thread: first why, then that.

void MmioTransport::QueueInterrupt::signal() {
  transport_.isr_.fetch_or(kIsrQueue, std::memory_order_release);
  transport_.line_.signal();
}

void MmioTransport::signal_config() {
  line_.signal();
}

Interrupt& MmioTransport::queue_interrupt(std::uint16_t /*index*/) {
  return queue_interrupt_;
}

// All queues have one notify register and write their index to it. With one queue the value need
// not be looked at, and KVM then does not even decode the guest's instruction.
Result<void> MmioTransport::bind_kick(std::uint16_t index, int event_fd) {
  if (nr_queues() == 1) return kicks_->bind(notify_, event_fd);
  return kicks_->bind_value(notify_, index, event_fd);
}

Result<void> MmioTransport::unbind_kick(std::uint16_t index, int event_fd) {
  if (nr_queues() == 1) return kicks_->unbind(notify_, event_fd);
  return kicks_->unbind_value(notify_, index, event_fd);
}

// Registers are accessed as aligned 32-bit words, and only so; the configuration space as its
// fields are (4.2.2.2).

void MmioTransport::read(std::uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset < kConfig && !is_register(offset, data.size())) return;
  std::lock_guard lock(registers_mutex_);
  if (offset >= kConfig) return device_.read_config(offset - kConfig, data);
  settle_reset();
  store_le(data.data(), read_register(offset));
}

void MmioTransport::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset < kConfig && !is_register(offset, data.size())) return;
  if (offset == kQueueNotify) return kick(load_le<std::uint32_t>(data.data()));
  std::lock_guard lock(registers_mutex_);
  settle_reset();
  if (resetting()) return;
  if (offset >= kConfig) return device_.write_config(offset - kConfig, data);
  write_register(offset, load_le<std::uint32_t>(data.data()));
}

std::uint32_t MmioTransport::read_register(std::uint64_t offset) {
  const Queue* queue = selected_queue();
  switch (offset) {
    case kMagic:
      return kMagicValue;
    case kVersion:
      return kVersionValue;
    case kDeviceId:
      return static_cast<std::uint32_t>(device_.type());
    case kVendorId:
      return kVendorValue;
    case kDeviceFeatures:
      return device_feature();
    case kQueueNumMax:
      if (queue == nullptr) return 0;
      return device_.max_queue_size(static_cast<std::uint16_t>(queue_select_));
    case kQueueReady:
      return queue != nullptr && queue->enabled ? 1 : 0;
    case kInterruptStatus:
      return isr_.load(std::memory_order_acquire);
    case kStatus:
      return status();
    case kShmLen:
    case kShmLen + 4:
    case kShmBase:
    case kShmBase + 4:
      return kNoSharedMemory;
    case kConfigGeneration:
      return config_generation();
    default:
      return 0;  // write-only, or not there
  }
}

void MmioTransport::write_register(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kDeviceFeaturesSel:
      device_feature_select_ = value;
      return;
    case kDriverFeatures:
      return write_driver_feature(value);
    case kDriverFeaturesSel:
      driver_feature_select_ = value;
      return;
    case kQueueSel:
      queue_select_ = value;
      return;
    case kQueueNum:
      if (Queue* queue = configurable_queue()) write_queue_size(*queue, value);
      return;
    case kQueueReady:
      return write_queue_ready(value);
    case kInterruptAck:
      isr_.fetch_and(static_cast<std::uint8_t>(~value), std::memory_order_acq_rel);
      return;
    case kStatus:
      return write_status_register(value);
    default:
      return write_queue_address(offset, value);
  }
}

void MmioTransport::write_status_register(std::uint32_t value) {
  write_status(static_cast<std::uint8_t>(value));
  if (resetting()) wait_for_reset(reset_patience_);
}

// A queue can be taken back before the device runs, and by a reset after that.
void MmioTransport::write_queue_ready(std::uint32_t value) {
  if (value == 1) {
    if (Queue* queue = configurable_queue()) queue->enabled = true;
  } else if (value == 0 && (status() & kStatusDriverOk) == 0) {
    if (Queue* queue = selected_queue()) queue->enabled = false;
  }
}

void MmioTransport::write_queue_address(std::uint64_t offset, std::uint32_t value) {
  Queue* queue = configurable_queue();
  if (queue == nullptr) return;
  auto part = static_cast<std::uint32_t>(offset / 4 % 2);
  switch (offset & ~std::uint64_t{7}) {
    case kQueueDesc:
      return set_half(queue->layout.descriptors.value, part, value);
    case kQueueDriver:
      return set_half(queue->layout.driver_area.value, part, value);
    case kQueueDevice:
      return set_half(queue->layout.device_area.value, part, value);
    default:
      return;
  }
}

}  // namespace vmm::virtio
