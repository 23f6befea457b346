// SPDX-License-Identifier: Apache-2.0
// Bus: which device answers at which port or guest-physical address.
//
// Filled while the machine is put together, immutable once vCPUs run: look-ups take no lock. vCPU
// threads call into devices directly and at once, so a BusDevice locks its own state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "vmm/core/result.h"

namespace vmm {

class BusDevice {
 public:
  virtual ~BusDevice() = default;

  // `offset` counts from the start of the device's range; `data` has 1 to 8 bytes, little endian,
  // and lies inside the range as a whole. Size and alignment are guest-controlled. read() must fill
  // all of `data`.
  virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
};

class Bus {
 public:
  // `name` says in errors what kind of addresses these are ("port", "MMIO"). `size` > 0. The device
  // must outlive the bus. Fails with kInvalid where the range overlaps one that is there.
  explicit Bus(std::string name) : name_(std::move(name)) {}
  Result<void> insert(std::uint64_t start, std::uint64_t size, BusDevice& device);

  // Return whether a device answered. An access that leaves a device's range is answered by nobody:
  // reads then give all ones, as on an idle bus.
  bool read(std::uint64_t address, std::span<std::byte> data) const;
  bool write(std::uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Entry {
    std::uint64_t size;
    BusDevice* device;
  };
  struct Hit {
    BusDevice* device = nullptr;
    std::uint64_t offset = 0;
  };
  Hit find(std::uint64_t address, std::size_t size) const;

  std::string name_;
  std::map<std::uint64_t, Entry> entries_;  // by start
};

}  // namespace vmm
