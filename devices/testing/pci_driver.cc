// SPDX-License-Identifier: Apache-2.0
#include "devices/testing/pci_driver.h"

#include <array>
#include <cstdlib>
#include <span>

#include "vmm/core/byte_order.h"

namespace vmm::testing {
namespace {

std::uint64_t read_bus(const Bus& bus, std::uint64_t address, unsigned size) {
  std::array<std::byte, 8> bytes{};
  bus.read(address, std::span(bytes).first(size));
  return load_le<std::uint64_t>(bytes.data());
}

void write_bus(const Bus& bus, std::uint64_t address, unsigned size, std::uint64_t value) {
  std::array<std::byte, 8> bytes;
  store_le(bytes.data(), value);
  bus.write(address, std::span(bytes).first(size));
}

std::uint32_t config_address(unsigned slot, unsigned offset) {
  return 0x80000000u | slot << 11 | (offset & 0xfcu);
}

}  // namespace

PciBuses::PciBuses(pci::Root& root) {
  bool placed = ports.insert(pci::Root::kConfigPort, pci::Root::kNrConfigPorts, root.config_ports())
                    .has_value() &&
                mmio.insert(kWindow, kWindowSize, root.window()).has_value() &&
                mmio.insert(kEcam, pci::Root::kEcamSize, root.ecam()).has_value();
  if (!placed) std::abort();
}

std::uint32_t PciBuses::read_config(unsigned slot, unsigned offset, unsigned size) const {
  write_bus(ports, 0xcf8, 4, config_address(slot, offset));
  return static_cast<std::uint32_t>(read_bus(ports, 0xcfc + offset % 4, size));
}

void PciBuses::write_config(unsigned slot, unsigned offset, unsigned size,
                            std::uint32_t value) const {
  write_bus(ports, 0xcf8, 4, config_address(slot, offset));
  write_bus(ports, 0xcfc + offset % 4, size, value);
}

std::uint64_t PciBuses::read(std::uint64_t address, unsigned size) const {
  return read_bus(mmio, address, size);
}

void PciBuses::write(std::uint64_t address, unsigned size, std::uint64_t value) const {
  write_bus(mmio, address, size, value);
}

PciDriver::PciDriver(const PciBuses& buses, unsigned slot, FakeKickRegistrar* kicks)
    : buses_(buses), slot_(slot), kicks_(kicks) {
}

std::optional<unsigned> PciDriver::find_capability(unsigned id, unsigned virtio_type) const {
  unsigned at = buses_.read_config(slot_, 0x34, 1);
  for (int hops = 0; at != 0 && hops < 48; ++hops) {
    bool is_type = virtio_type == 0 || buses_.read_config(slot_, at + 3, 1) == virtio_type;
    if (buses_.read_config(slot_, at, 1) == id && is_type) return at;
    at = buses_.read_config(slot_, at + 1, 1);
  }
  return std::nullopt;
}

std::uint64_t PciDriver::part(unsigned type) const {
  std::optional<unsigned> at = find_capability(0x09, type);
  if (!at) return 0;
  unsigned bar = buses_.read_config(slot_, *at + 4, 1);
  std::uint32_t base = buses_.read_config(slot_, 0x10 + 4 * bar, 4) & ~0xfu;
  return base + buses_.read_config(slot_, *at + 8, 4);
}

std::uint64_t PciDriver::common(unsigned reg, unsigned size) const {
  return buses_.read(part(1) + reg, size);
}

void PciDriver::set_common(unsigned reg, unsigned size, std::uint64_t value) const {
  buses_.write(part(1) + reg, size, value);
}

std::uint64_t PciDriver::device_features() const {
  std::uint64_t features = 0;
  for (unsigned half = 0; half < 2; ++half) {
    set_common(kDeviceFeatureSelect, 4, half);
    features |= common(kDeviceFeature, 4) << (32 * half);
  }
  return features;
}

bool PciDriver::negotiate(std::uint64_t features) const {
  set_status(0);
  set_status(1);
  set_status(1 | 2);
  for (unsigned half = 0; half < 2; ++half) {
    set_common(kDriverFeatureSelect, 4, half);
    set_common(kDriverFeature, 4, features >> (32 * half));
  }
  set_status(1 | 2 | 8);
  return (status() & 8) != 0;
}

void PciDriver::set_up_queue(std::uint16_t index, const virtio::QueueLayout& layout,
                             std::uint16_t vector) const {
  set_common(kQueueSelect, 2, index);
  set_common(kQueueSize, 2, layout.size);
  set_common(kQueueMsixVector, 2, vector);
  set_common(kQueueDesc, 8, layout.descriptors.value);
  set_common(kQueueDriver, 4, layout.driver_area.value & 0xffffffff);
  set_common(kQueueDriver + 4, 4, layout.driver_area.value >> 32);
  set_common(kQueueDevice, 8, layout.device_area.value);
  set_common(kQueueEnable, 2, 1);
}

void PciDriver::enable_msix() const {
  unsigned at = *find_capability(0x11);
  buses_.write_config(slot_, at + 2, 2, buses_.read_config(slot_, at + 2, 2) | 0x8000);
}

void PciDriver::set_vector(unsigned vector, std::uint64_t address, std::uint32_t data,
                           bool masked) const {
  unsigned at = *find_capability(0x11);
  std::uint32_t table = buses_.read_config(slot_, at + 4, 4);
  std::uint32_t base = buses_.read_config(slot_, 0x10 + 4 * (table & 7), 4) & ~0xfu;
  std::uint64_t entry = base + (table & ~7u) + 16 * vector;
  buses_.write(entry, 4, address & 0xffffffff);
  buses_.write(entry + 4, 4, address >> 32);
  buses_.write(entry + 8, 4, data);
  buses_.write(entry + 12, 4, masked ? 1 : 0);
}

std::uint64_t PciDriver::notify_address(std::uint16_t queue) const {
  unsigned at = *find_capability(0x09, 2);
  std::uint32_t step = buses_.read_config(slot_, at + 16, 4);
  set_common(kQueueSelect, 2, queue);
  return part(2) + common(kQueueNotifyOff, 2) * step;
}

void PciDriver::kick(std::uint16_t queue) const {
  std::uint64_t address = notify_address(queue);
  if (kicks_ != nullptr && kicks_->store(GuestAddress(address), queue)) return;
  buses_.write(address, 2, queue);
}

}  // namespace vmm::testing
