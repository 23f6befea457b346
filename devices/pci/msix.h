// SPDX-License-Identifier: Apache-2.0
// Msix: the MSI-X table and pending bits of one device (PCI Local Bus 3.0, 6.8.2).
//
// signal() may be called from any thread and takes no lock, so that completions on an I/O thread
// never wait for a vCPU; all else comes from vCPU threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "vmm/core/interrupt.h"
#include "vmm/core/result.h"

namespace vmm::pci {

class Msix {
 public:
  static constexpr std::uint8_t kCapabilityId = 0x11;
  static constexpr std::uint16_t kControlEnable = 1 << 15;
  static constexpr std::uint16_t kControlFunctionMask = 1 << 14;
  static constexpr unsigned kEntrySize = 16;  // bytes
  static constexpr unsigned kMaxVectors = 2048;

  static Result<std::unique_ptr<Msix>> create(MsiController& controller, unsigned nr_vectors);

  unsigned nr_vectors() const { return static_cast<unsigned>(vectors_.size()); }
  std::uint64_t table_size() const { return vectors_.size() * kEntrySize; }       // bytes
  std::uint64_t pending_size() const { return (vectors_.size() + 63) / 64 * 8; }  // bytes

  // Sends the vector's message, or keeps it pending while the vector is masked. `vector` must
  // exist.
  void signal(unsigned vector);

  // Message control, as the guest wrote it.
  void set_control(std::uint16_t control);

  // Accesses to the table and to the pending bits, from their starts. Offset and size are
  // guest-controlled; only aligned double and quad words count.
  void read_table(std::uint64_t offset, std::span<std::byte> data);
  void write_table(std::uint64_t offset, std::span<const std::byte> data);
  void read_pending(std::uint64_t offset, std::span<std::byte> data);

 private:
  struct Vector {
    std::unique_ptr<MsiVector> message;
    // What the guest wrote; guarded by mutex_.
    std::uint64_t address = 0;
    std::uint32_t data = 0;
    std::uint32_t control = 1;  // bit 0: masked
    bool programmed = false;    // whether `message` has these values
    // Whether the message may not be sent: by its own mask, the function's, or MSI-X being off.
    std::atomic<bool> masked = true;
    std::atomic<bool> pending = false;
  };

  explicit Msix(unsigned nr_vectors) : vectors_(nr_vectors) {}
  void update(Vector& vector);

  std::vector<Vector> vectors_;
  std::mutex mutex_;
  std::uint16_t control_ = 0;
};

}  // namespace vmm::pci
