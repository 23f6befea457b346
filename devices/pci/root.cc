// SPDX-License-Identifier: Apache-2.0
#include "devices/pci/root.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "vmm/core/byte_order.h"

namespace vmm::pci {
namespace {

constexpr std::uint32_t kAddressEnable = 1u << 31;
constexpr std::uint32_t kAddressWritable = 0x80fffffc;
constexpr unsigned kSlotShift = 15;      // in an ECAM offset
constexpr unsigned kFunctionShift = 12;  // the same
constexpr std::uint64_t kFunctionSize = 1 << kFunctionShift;

void all_ones(std::span<std::byte> data) {
  std::memset(data.data(), 0xff, data.size());
}

}  // namespace

// What other monitors use for a plain PCI host bridge; drivers need none for it.
Root::HostBridge::HostBridge()
    : Device(Identity{.vendor = 0x1b36, .device = 0x0008, .class_code = 0x060000}) {
}

Root::Root(Window window) : window_(window), next_free_(window.start) {
  assert(window.start > 0 && window.start + window.size <= std::uint64_t{1} << 32);
  slots_[0].store(&host_bridge_, std::memory_order_release);
}

Result<unsigned> Root::attach(Device& device) {
  std::lock_guard lock(mutex_);
  auto free = std::find(slots_.begin(), slots_.end(), nullptr);
  if (free == slots_.end()) {
    return fail(ErrorKind::kInvalid,
                fmt::format("the PCI bus is full: it takes {} devices", kNrSlots - 1));
  }
  for (unsigned bar = 0; bar < Device::kNrBars; ++bar) {
    std::uint64_t size = device.bar_size(bar);
    if (size == 0) continue;
    std::uint64_t address = (next_free_ + size - 1) & ~(size - 1);
    if (address + size > window_.start + window_.size) {
      return fail(ErrorKind::kInvalid, "the PCI memory window is full");
    }
    device.place_bar(bar, static_cast<std::uint32_t>(address));
    next_free_ = address + size;
  }
  free->store(&device, std::memory_order_release);
  return static_cast<unsigned>(free - slots_.begin());
}

Device* Root::device_at(std::uint64_t ecam_offset) const {
  if ((ecam_offset >> kFunctionShift & 7) != 0) return nullptr;
  return slots_[ecam_offset >> kSlotShift & (kNrSlots - 1)].load(std::memory_order_acquire);
}

void Root::read_config(std::uint64_t offset, std::span<std::byte> data) {
  Device* device = device_at(offset);
  std::uint64_t reg = offset % kFunctionSize;
  if (device == nullptr || data.size() > kFunctionSize - reg) return all_ones(data);
  if (reg + data.size() > Device::kConfigSize) {
    // No extended capabilities.
    std::memset(data.data(), 0, data.size());
    return;
  }
  device->read_config(reg, data);
}

void Root::write_config(std::uint64_t offset, std::span<const std::byte> data) {
  Device* device = device_at(offset);
  std::uint64_t reg = offset % kFunctionSize;
  if (device == nullptr || reg + data.size() > Device::kConfigSize) return;
  device->write_config(reg, data);
}

void Root::Ecam::read(std::uint64_t offset, std::span<std::byte> data) {
  root_.read_config(offset, data);
}
void Root::Ecam::write(std::uint64_t offset, std::span<const std::byte> data) {
  root_.write_config(offset, data);
}

bool Root::ConfigPorts::target(std::uint64_t offset, std::uint64_t& ecam_offset) const {
  std::uint32_t address = address_.load(std::memory_order_relaxed);
  std::uint32_t bus = address >> 16 & 0xff;
  if ((address & kAddressEnable) == 0 || bus != 0) return false;
  std::uint32_t device_function = address >> 8 & 0xff;
  ecam_offset =
      (std::uint64_t{device_function} << kFunctionShift) + (address & 0xfc) + (offset - 4);
  return true;
}

void Root::ConfigPorts::read(std::uint64_t offset, std::span<std::byte> data) {
  std::uint64_t ecam_offset = 0;
  if (offset + data.size() <= 4) {
    std::byte image[4];
    store_le(image, address_.load(std::memory_order_relaxed));
    std::memcpy(data.data(), image + offset, data.size());
  } else if (offset >= 4 && target(offset, ecam_offset)) {
    root_.read_config(ecam_offset, data);
  } else {
    all_ones(data);
  }
}

void Root::ConfigPorts::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint64_t ecam_offset = 0;
  if (offset == 0 && data.size() == 4) {
    // Only a double word reaches the address register (PCI Local Bus 3.0, 3.2.2.3.2).
    address_.store(load_le<std::uint32_t>(data.data()) & kAddressWritable,
                   std::memory_order_relaxed);
  } else if (offset >= 4 && target(offset, ecam_offset)) {
    root_.write_config(ecam_offset, data);
  }
}

Root::BarHit Root::find_bar(std::uint64_t address, std::size_t size) const {
  for (const std::atomic<Device*>& slot : slots_) {
    Device* device = slot.load(std::memory_order_acquire);
    if (device == nullptr) break;  // slots are filled from the front
    for (unsigned bar = 0; bar < Device::kNrBars; ++bar) {
      std::uint64_t bar_size = device->bar_size(bar);
      std::uint64_t base = device->bar_base(bar);
      std::uint64_t offset = address - base;
      if (base == 0 || offset >= bar_size || size > bar_size - offset) continue;
      return {device, bar, offset};
    }
  }
  return {};
}

void Root::WindowDevice::read(std::uint64_t offset, std::span<std::byte> data) {
  BarHit hit = root_.find_bar(root_.window_.start + offset, data.size());
  if (hit.device == nullptr) return all_ones(data);
  hit.device->read_bar(hit.bar, hit.offset, data);
}

void Root::WindowDevice::write(std::uint64_t offset, std::span<const std::byte> data) {
  BarHit hit = root_.find_bar(root_.window_.start + offset, data.size());
  if (hit.device != nullptr) hit.device->write_bar(hit.bar, hit.offset, data);
}

}  // namespace vmm::pci
