// SPDX-License-Identifier: Apache-2.0
// pci::Root: one PCI bus (domain 0, bus 0) behind a host bridge at 00.0.
//
// The machine puts three ranges on its buses:
//   port bus: config_ports() at kConfigPort, kNrConfigPorts ports (mechanism #1: 0xcf8, 0xcfc);
//   MMIO bus: ecam() anywhere, kEcamSize bytes (the MCFG names it; only bus 0 is behind it);
//   MMIO bus: window() at the window given to the constructor, from which BARs get their places.
// The guest may move BARs; where they lie outside of the window nobody hears of accesses to them.
//
// Look-ups on vCPU threads take no lock: they walk the few BARs there are.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

#include "devices/pci/device.h"
#include "vmm/core/bus.h"
#include "vmm/core/result.h"

namespace vmm::pci {

class Root {
 public:
  static constexpr std::uint64_t kConfigPort = 0xcf8;
  static constexpr std::uint64_t kNrConfigPorts = 8;
  static constexpr std::uint64_t kEcamSize = 1 << 20;  // bytes: one bus
  static constexpr unsigned kNrSlots = 32;             // the host bridge is in slot 0

  // Guest-physical, below 4 GiB, page-aligned, start not 0.
  struct Window {
    std::uint64_t start;
    std::uint64_t size;
  };

  explicit Root(Window window);

  // Gives the device the next free slot and its BARs their places. It must outlive the root. Fails
  // where the slots or the window are used up. Returns the slot ("00:SS.0").
  Result<unsigned> attach(Device& device);

  BusDevice& config_ports() { return config_ports_; }
  BusDevice& ecam() { return ecam_; }
  BusDevice& window() { return window_device_; }

 private:
  class HostBridge final : public Device {
   public:
    HostBridge();
    void read_bar(unsigned, std::uint64_t, std::span<std::byte>) override {}
    void write_bar(unsigned, std::uint64_t, std::span<const std::byte>) override {}
  };

  class ConfigPorts final : public BusDevice {
   public:
    explicit ConfigPorts(Root& root) : root_(root) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    // Where in the ECAM an access to the data port goes; false where it goes nowhere.
    bool target(std::uint64_t offset, std::uint64_t& ecam_offset) const;

    Root& root_;
    // Two vCPUs that race here mix up their accesses, as on real hardware; the guest has a lock.
    std::atomic<std::uint32_t> address_ = 0;
  };

  class Ecam final : public BusDevice {
   public:
    explicit Ecam(Root& root) : root_(root) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    Root& root_;
  };

  class WindowDevice final : public BusDevice {
   public:
    explicit WindowDevice(Root& root) : root_(root) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    Root& root_;
  };

  struct BarHit {
    Device* device = nullptr;
    unsigned bar = 0;
    std::uint64_t offset = 0;
  };
  BarHit find_bar(std::uint64_t address, std::size_t size) const;

  // Offsets as in the ECAM. Accesses to what is not there read as ones.
  void read_config(std::uint64_t offset, std::span<std::byte> data);
  void write_config(std::uint64_t offset, std::span<const std::byte> data);
  Device* device_at(std::uint64_t ecam_offset) const;

  const Window window_;
  HostBridge host_bridge_;
  ConfigPorts config_ports_{*this};
  Ecam ecam_{*this};
  WindowDevice window_device_{*this};
  std::array<std::atomic<Device*>, kNrSlots> slots_{};

  std::mutex mutex_;  // guards what follows; only attach() takes it
  std::uint64_t next_free_;
};

}  // namespace vmm::pci
