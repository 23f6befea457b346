// SPDX-License-Identifier: Apache-2.0
// pci::Device: a single-function PCI device: its configuration space and where its memory BARs are
// decoded (PCI Local Bus 3.0, chapter 6). No I/O BARs, no INTx pin, no bus mastering gate.
//
// All public members may be called from any vCPU thread at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

namespace vmm::pci {

struct Identity {
  std::uint16_t vendor;
  std::uint16_t device;
  std::uint32_t class_code;  // base class, subclass, interface: 0xBBSSII
  std::uint8_t revision = 0;
  std::uint16_t subsystem_vendor = 0;
  std::uint16_t subsystem = 0;
};

class Device {
 public:
  static constexpr std::size_t kConfigSize = 256;  // bytes; no extended configuration space
  static constexpr unsigned kNrBars = 6;

  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // [offset, offset + data.size()) must lie in the configuration space.
  void read_config(std::size_t offset, std::span<std::byte> data);
  void write_config(std::size_t offset, std::span<const std::byte> data);

  // Accesses to a BAR; they lie inside it as a whole.
  virtual void read_bar(unsigned bar, std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write_bar(unsigned bar, std::uint64_t offset, std::span<const std::byte> data) = 0;

  // Bytes, a power of two; 0 where there is no such BAR.
  std::uint32_t bar_size(unsigned bar) const { return bar_size_[bar]; }
  // The guest-physical address where the BAR answers now; 0 while it answers nowhere. Takes no
  // lock.
  std::uint64_t bar_base(unsigned bar) const {
    return bar_base_[bar].load(std::memory_order_acquire);
  }

  // What firmware does at start: gives a BAR its address and turns memory decoding on.
  void place_bar(unsigned bar, std::uint32_t address);

 protected:
  explicit Device(const Identity& identity);

  // For constructors. A 32-bit, not prefetchable memory BAR; `size` is a power of two >= 16.
  void add_bar(unsigned bar, std::uint32_t size);
  // Appends a capability (id and next pointer are put in front of `body`), and returns the offset
  // of its id. Bits set in `writable`, which is as long as `body`, can be written by the guest.
  std::uint8_t add_capability(std::uint8_t id, std::span<const std::byte> body,
                              std::span<const std::byte> writable);

  // Called with the configuration space locked, after these bytes were written.
  virtual void on_config_written(std::size_t /*offset*/, std::size_t /*size*/) {}
  // Called with the configuration space locked, before these bytes are read.
  virtual void on_config_read(std::size_t /*offset*/, std::size_t /*size*/) {}
  // Called with the configuration space locked, after bar_base() changed.
  virtual void on_bar_moved(unsigned /*bar*/) {}

  // For the hooks above.
  std::span<std::byte, kConfigSize> config() { return config_; }

 private:
  void update_bars();

  std::mutex mutex_;  // guards the two arrays that follow
  std::array<std::byte, kConfigSize> config_{};
  std::array<std::byte, kConfigSize> writable_{};  // bits the guest can change
  std::array<std::uint32_t, kNrBars> bar_size_{};
  std::array<std::atomic<std::uint64_t>, kNrBars> bar_base_{};
  std::size_t next_capability_ = 0x40;
  std::size_t last_capability_ = 0;
};

}  // namespace vmm::pci
