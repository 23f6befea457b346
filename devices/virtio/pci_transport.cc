// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/pci_transport.h"

#include <cstring>

#include "vmm/core/byte_order.h"

namespace vmm::virtio {
namespace {

constexpr std::uint16_t kVirtioVendor = 0x1af4;
constexpr std::uint16_t kVirtioDeviceBase = 0x1040;  // plus the device type (virtio 1.2, 4.1.2)
constexpr unsigned kBar = 0;

// virtio 1.2, 4.1.4.3.
struct CommonConfig {
  Le32 device_feature_select;
  Le32 device_feature;
  Le32 driver_feature_select;
  Le32 driver_feature;
  Le16 config_msix_vector;
  Le16 nr_queues;
  std::uint8_t device_status;
  std::uint8_t config_generation;
  Le16 queue_select;
  Le16 queue_size;
  Le16 queue_msix_vector;
  Le16 queue_enable;
  Le16 queue_notify_off;
  Le64 queue_descriptors;
  Le64 queue_driver;
  Le64 queue_device;
};
static_assert(sizeof(CommonConfig) == 56);

// virtio 1.2, 4.1.4: a capability without the two bytes that every PCI capability starts with.
struct CapabilityBody {
  std::uint8_t length = 16;  // with those two bytes
  std::uint8_t type;
  std::uint8_t bar = kBar;
  std::uint8_t id = 0;
  std::uint8_t padding[2] = {};
  Le32 part_offset;
  Le32 part_length;
  Le32 extra;  // notify_off_multiplier, or pci_cfg_data; the others end before it
};
static_assert(sizeof(CapabilityBody) == 18);

constexpr std::uint8_t kCapabilityVendor = 0x09;
enum CapabilityType : std::uint8_t {
  kTypeCommon = 1,
  kTypeNotify = 2,
  kTypeIsr = 3,
  kTypeDevice = 4,
  kTypePciConfig = 5,
};
// From the capability's id on.
constexpr std::size_t kWindowBar = 4;
constexpr std::size_t kWindowOffset = 8;
constexpr std::size_t kWindowLength = 12;
constexpr std::size_t kWindowData = 16;
constexpr std::size_t kMsixControl = 2;

pci::Identity identity_of(const virtio::Device& device) {
  auto id =
      static_cast<std::uint16_t>(kVirtioDeviceBase + static_cast<std::uint16_t>(device.type()));
  return {.vendor = kVirtioVendor,
          .device = id,
          .class_code = device.pci_class(),
          .revision = 1,
          .subsystem_vendor = kVirtioVendor,
          .subsystem = id};
}

bool overlaps(std::size_t offset, std::size_t size, std::size_t start, std::size_t length) {
  return offset < start + length && start < offset + size;
}

void zero(std::span<std::byte> data) {
  std::memset(data.data(), 0, data.size());
}

}  // namespace

struct PciTransport::QueueVector final : Interrupt {
  explicit QueueVector(PciTransport& owner) : transport(owner) {}
  void signal() override {
    transport.isr_.fetch_or(kIsrQueue, std::memory_order_release);
    transport.send(vector.load(std::memory_order_relaxed));
  }

  PciTransport& transport;
  std::atomic<std::uint16_t> vector = kNoVector;
};

Result<std::unique_ptr<PciTransport>> PciTransport::create(virtio::Device& device,
                                                           MsiController& msi,
                                                           KickRegistrar* kicks) {
  VMM_TRY(std::unique_ptr<pci::Msix> msix, pci::Msix::create(msi, device.nr_queues() + 1u));
  std::unique_ptr<PciTransport> transport(new PciTransport(device, kicks, std::move(msix)));
  VMM_CHECK(transport->create_queues());
  return transport;
}

PciTransport::PciTransport(virtio::Device& device, KickRegistrar* kicks,
                           std::unique_ptr<pci::Msix> msix)
    : pci::Device(identity_of(device)), TransportBase(device, kicks), msix_(std::move(msix)) {
  for (std::uint16_t i = 0; i < device.nr_queues(); ++i) {
    queue_vectors_.push_back(std::make_unique<QueueVector>(*this));
  }
  add_bar(kBar, kBarSize);
  add_capabilities();
}

PciTransport::~PciTransport() = default;

void PciTransport::add_capabilities() {
  struct MsixBody {
    Le16 control;
    Le32 table;
    Le32 pending;
  };
  static_assert(sizeof(MsixBody) == 10);
  MsixBody msix{.control = static_cast<std::uint16_t>(msix_->nr_vectors() - 1),
                .table = kMsixTable | kBar,
                .pending = kMsixPending | kBar};
  MsixBody msix_writable{.control = pci::Msix::kControlEnable | pci::Msix::kControlFunctionMask};
  msix_capability_ = add_capability(pci::Msix::kCapabilityId, std::as_bytes(std::span(&msix, 1)),
                                    std::as_bytes(std::span(&msix_writable, 1)));

  add_virtio_capability(kTypeCommon, kCommonConfig, sizeof(CommonConfig));
  add_virtio_capability(kTypeIsr, kIsr, 1);
  add_virtio_capability(kTypeDevice, kDeviceConfig, kNotify - kDeviceConfig);
  add_virtio_capability(kTypeNotify, kNotify, device_.nr_queues() * kNotifyStep);
  add_virtio_capability(kTypePciConfig, 0, 0);
}

void PciTransport::add_virtio_capability(std::uint8_t type, std::uint32_t offset,
                                         std::uint32_t length) {
  CapabilityBody body{.type = type, .part_offset = offset, .part_length = length};
  CapabilityBody writable{.length = 0, .type = 0, .bar = 0};
  bool has_extra = type == kTypeNotify || type == kTypePciConfig;
  if (has_extra) body.length += sizeof body.extra;
  if (type == kTypeNotify) body.extra = kNotifyStep;
  if (type == kTypePciConfig) {
    writable.bar = 0xff;
    writable.part_offset = writable.part_length = writable.extra = 0xffffffff;
  }
  std::size_t size = body.length - 2u;
  std::uint8_t at =
      add_capability(kCapabilityVendor, std::as_bytes(std::span(&body, 1)).first(size),
                     std::as_bytes(std::span(&writable, 1)).first(size));
  if (type == kTypePciConfig) window_capability_ = at;
}

// Interrupts, on any thread.

void PciTransport::send(std::uint16_t vector) {
  if (vector != kNoVector) msix_->signal(vector);
}

void PciTransport::signal_config() {
  send(config_vector_.load(std::memory_order_relaxed));
}

Interrupt& PciTransport::queue_interrupt(std::uint16_t index) {
  return *queue_vectors_[index];
}

// The configuration space; its lock is held.

void PciTransport::on_config_written(std::size_t offset, std::size_t size) {
  if (overlaps(offset, size, msix_capability_ + kMsixControl, 2)) {
    msix_->set_control(load_le<std::uint16_t>(&config()[msix_capability_ + kMsixControl]));
  }
  std::uint64_t target = 0;
  std::size_t length = 0;
  if (overlaps(offset, size, window_capability_ + kWindowData, 4) &&
      config_window(target, length)) {
    std::byte data[4];
    std::memcpy(data, &config()[window_capability_ + kWindowData], sizeof data);
    write_bar(kBar, target, std::span(data).first(length));
  }
}

void PciTransport::on_config_read(std::size_t offset, std::size_t size) {
  std::uint64_t target = 0;
  std::size_t length = 0;
  if (overlaps(offset, size, window_capability_ + kWindowData, 4) &&
      config_window(target, length)) {
    read_bar(kBar, target, config().subspan(window_capability_ + kWindowData, length));
  }
}

// Where VIRTIO_PCI_CAP_PCI_CFG points to (virtio 1.2, 4.1.4.9); false where that is nowhere.
bool PciTransport::config_window(std::uint64_t& offset, std::size_t& size) {
  const std::byte* capability = &config()[window_capability_];
  offset = load_le<std::uint32_t>(capability + kWindowOffset);
  size = load_le<std::uint32_t>(capability + kWindowLength);
  return capability[kWindowBar] == std::byte{kBar} && (size == 1 || size == 2 || size == 4) &&
         offset % size == 0 && offset + size <= kBarSize;
}

void PciTransport::on_bar_moved(unsigned /*bar*/) {
  std::lock_guard lock(registers_mutex_);
  unbind_kicks();
  bind_kicks();
}

// BAR 0.

void PciTransport::read_bar(unsigned /*bar*/, std::uint64_t offset, std::span<std::byte> data) {
  zero(data);
  if (offset >= kMsixPending) {
    msix_->read_pending(offset - kMsixPending, data);
  } else if (offset >= kMsixTable) {
    msix_->read_table(offset - kMsixTable, data);
  } else if (offset >= kNotify) {
    // Write-only.
  } else if (offset >= kDeviceConfig) {
    std::lock_guard lock(registers_mutex_);
    device_.read_config(offset - kDeviceConfig, data);
  } else if (offset >= kIsr) {
    if (offset == kIsr) data[0] = std::byte{isr_.exchange(0, std::memory_order_acquire)};
  } else if (offset + data.size() <= sizeof(CommonConfig)) {
    std::lock_guard lock(registers_mutex_);
    settle_reset();
    read_common(offset, data);
  }
}

void PciTransport::write_bar(unsigned /*bar*/, std::uint64_t offset,
                             std::span<const std::byte> data) {
  if (offset >= kMsixTable) {
    if (offset < kMsixPending) msix_->write_table(offset - kMsixTable, data);
    return;
  }
  if (offset >= kNotify) {
    offset -= kNotify;
    if (offset % kNotifyStep == 0) kick(offset / kNotifyStep);
    return;
  }
  std::lock_guard lock(registers_mutex_);
  settle_reset();
  if (resetting()) return;
  if (offset >= kDeviceConfig) {
    device_.write_config(offset - kDeviceConfig, data);
  } else if (offset < sizeof(CommonConfig)) {
    write_common(offset, data);
  }
}

// Common configuration; registers_mutex_ is held.

void PciTransport::read_common(std::uint64_t offset, std::span<std::byte> data) {
  CommonConfig image{};
  image.device_feature_select = device_feature_select_;
  image.device_feature = device_feature();
  image.driver_feature_select = driver_feature_select_;
  image.driver_feature = driver_feature();
  image.config_msix_vector = config_vector_.load(std::memory_order_relaxed);
  image.nr_queues = static_cast<std::uint16_t>(nr_queues());
  image.device_status = status();
  image.config_generation = config_generation();
  image.queue_select = static_cast<std::uint16_t>(queue_select_);
  if (const Queue* queue = selected_queue()) {
    image.queue_size = queue->layout.size;
    image.queue_msix_vector = queue_vectors_[queue_select_]->vector.load(std::memory_order_relaxed);
    image.queue_enable = queue->enabled ? 1 : 0;
    image.queue_notify_off = static_cast<std::uint16_t>(queue_select_);
    image.queue_descriptors = queue->layout.descriptors.value;
    image.queue_driver = queue->layout.driver_area.value;
    image.queue_device = queue->layout.device_area.value;
  }
  std::memcpy(data.data(), reinterpret_cast<const std::byte*>(&image) + offset, data.size());
}

// Drivers access each field with its own width, 64-bit ones also in two halves
// (virtio 1.2, 4.1.3.1). Anything else does nothing.
void PciTransport::write_common(std::uint64_t offset, std::span<const std::byte> data) {
  if (data.size() == 8) {
    write_common(offset, data.first(4));
    write_common(offset + 4, data.subspan(4));
  } else if (data.size() == 4) {
    write_register32(offset, load_le<std::uint32_t>(data.data()));
  } else if (data.size() == 2) {
    write_register16(offset, load_le<std::uint16_t>(data.data()));
  } else if (data.size() == 1 && offset == offsetof(CommonConfig, device_status)) {
    write_status(std::to_integer<std::uint8_t>(data[0]));
  }
}

void PciTransport::write_register32(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case offsetof(CommonConfig, device_feature_select):
      device_feature_select_ = value;
      return;
    case offsetof(CommonConfig, driver_feature_select):
      driver_feature_select_ = value;
      return;
    case offsetof(CommonConfig, driver_feature):
      return write_driver_feature(value);
    default:
      break;
  }
  Queue* queue = configurable_queue();
  if (queue == nullptr) return;
  auto part = static_cast<std::uint32_t>(offset / 4 % 2);
  switch (offset & ~std::uint64_t{7}) {
    case offsetof(CommonConfig, queue_descriptors):
      return set_half(queue->layout.descriptors.value, part, value);
    case offsetof(CommonConfig, queue_driver):
      return set_half(queue->layout.driver_area.value, part, value);
    case offsetof(CommonConfig, queue_device):
      return set_half(queue->layout.device_area.value, part, value);
    default:
      return;
  }
}

void PciTransport::write_register16(std::uint64_t offset, std::uint16_t value) {
  // A vector that does not exist reads back as none: so the driver sees that it was not taken.
  std::uint16_t vector = value < msix_->nr_vectors() ? value : kNoVector;
  switch (offset) {
    case offsetof(CommonConfig, config_msix_vector):
      config_vector_.store(vector, std::memory_order_relaxed);
      return;
    case offsetof(CommonConfig, queue_select):
      queue_select_ = value;
      return;
    case offsetof(CommonConfig, queue_msix_vector):
      if (selected_queue() != nullptr) {
        queue_vectors_[queue_select_]->vector.store(vector, std::memory_order_relaxed);
      }
      return;
    default:
      break;
  }
  Queue* queue = configurable_queue();
  if (queue == nullptr) return;
  if (offset == offsetof(CommonConfig, queue_size)) {
    write_queue_size(*queue, value);
  } else if (offset == offsetof(CommonConfig, queue_enable)) {
    queue->enabled = value == 1;
  }
}

void PciTransport::on_clear() {
  config_vector_.store(kNoVector, std::memory_order_relaxed);
  for (const std::unique_ptr<QueueVector>& queue : queue_vectors_) {
    queue->vector.store(kNoVector, std::memory_order_relaxed);
  }
}

// Kicks; registers_mutex_ is held.

bool PciTransport::fix_notify_addresses() {
  bound_base_ = bar_base(kBar);
  return bound_base_ != 0;
}

Result<void> PciTransport::bind_kick(std::uint16_t index, int event_fd) {
  return kicks_->bind(GuestAddress(bound_base_ + kNotify + index * kNotifyStep), event_fd);
}

Result<void> PciTransport::unbind_kick(std::uint16_t index, int event_fd) {
  return kicks_->unbind(GuestAddress(bound_base_ + kNotify + index * kNotifyStep), event_fd);
}

}  // namespace vmm::virtio
