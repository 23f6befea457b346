// SPDX-License-Identifier: Apache-2.0
#include "devices/pci/device.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "vmm/core/byte_order.h"

namespace vmm::pci {
namespace {

// PCI Local Bus 3.0, 6.1 and 6.2.
enum ConfigOffset : std::size_t {
  kVendor = 0x00,
  kDevice = 0x02,
  kCommand = 0x04,
  kStatus = 0x06,
  kRevision = 0x08,
  kClass = 0x09,
  kCacheLine = 0x0c,
  kLatencyTimer = 0x0d,
  kBar0 = 0x10,
  kSubsystemVendor = 0x2c,
  kSubsystem = 0x2e,
  kCapabilities = 0x34,
  kInterruptLine = 0x3c,
};

constexpr std::uint16_t kCommandMemory = 1 << 1;
// Memory, bus master, INTx disable: what drivers turn on and read back.
constexpr std::uint16_t kCommandWritable = 1 << 1 | 1 << 2 | 1 << 10;
constexpr std::uint16_t kStatusCapabilities = 1 << 4;
constexpr std::uint32_t kBarAddress = 0xfffffff0;

}  // namespace

Device::Device(const Identity& identity) {
  store_le(&config_[kVendor], identity.vendor);
  store_le(&config_[kDevice], identity.device);
  store_le(&config_[kRevision], identity.class_code << 8 | identity.revision);
  store_le(&config_[kSubsystemVendor], identity.subsystem_vendor);
  store_le(&config_[kSubsystem], identity.subsystem);
  store_le(&writable_[kCommand], kCommandWritable);
  writable_[kCacheLine] = std::byte{0xff};
  writable_[kInterruptLine] = std::byte{0xff};
}

void Device::add_bar(unsigned bar, std::uint32_t size) {
  assert(bar < kNrBars && std::has_single_bit(size) && size >= 16);
  bar_size_[bar] = size;
  store_le(&writable_[kBar0 + 4 * bar], ~(size - 1) & kBarAddress);
}

std::uint8_t Device::add_capability(std::uint8_t id, std::span<const std::byte> body,
                                    std::span<const std::byte> writable) {
  std::size_t offset = next_capability_;
  assert(offset + 2 + body.size() <= kConfigSize && writable.size() == body.size());
  config_[offset] = std::byte{id};
  std::copy(body.begin(), body.end(), &config_[offset + 2]);
  std::copy(writable.begin(), writable.end(), &writable_[offset + 2]);

  std::size_t link = last_capability_ == 0 ? std::size_t{kCapabilities} : last_capability_ + 1;
  config_[link] = static_cast<std::byte>(offset);
  config_[kStatus] |= static_cast<std::byte>(kStatusCapabilities);
  last_capability_ = offset;
  next_capability_ = (offset + 2 + body.size() + 3) & ~std::size_t{3};
  return static_cast<std::uint8_t>(offset);
}

void Device::read_config(std::size_t offset, std::span<std::byte> data) {
  assert(offset + data.size() <= kConfigSize);
  std::lock_guard lock(mutex_);
  on_config_read(offset, data.size());
  std::copy_n(&config_[offset], data.size(), data.begin());
}

void Device::write_config(std::size_t offset, std::span<const std::byte> data) {
  assert(offset + data.size() <= kConfigSize);
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < data.size(); ++i) {
    std::byte mask = writable_[offset + i];
    config_[offset + i] = (config_[offset + i] & ~mask) | (data[i] & mask);
  }
  update_bars();
  on_config_written(offset, data.size());
}

void Device::place_bar(unsigned bar, std::uint32_t address) {
  assert(bar_size_[bar] != 0 && address % bar_size_[bar] == 0);
  std::lock_guard lock(mutex_);
  store_le(&config_[kBar0 + 4 * bar], address);
  store_le(&config_[kCommand],
           static_cast<std::uint16_t>(load_le<std::uint16_t>(&config_[kCommand]) | kCommandMemory));
  update_bars();
}

void Device::update_bars() {
  bool decodes = (load_le<std::uint16_t>(&config_[kCommand]) & kCommandMemory) != 0;
  for (unsigned bar = 0; bar < kNrBars; ++bar) {
    if (bar_size_[bar] == 0) continue;
    std::uint64_t base = decodes ? load_le<std::uint32_t>(&config_[kBar0 + 4 * bar]) : 0;
    if (base == bar_base(bar)) continue;
    bar_base_[bar].store(base, std::memory_order_release);
    on_bar_moved(bar);
  }
}

}  // namespace vmm::pci
