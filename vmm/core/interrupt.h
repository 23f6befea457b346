// SPDX-License-Identifier: Apache-2.0
// The seams between devices and whatever delivers interrupts and kicks (KVM, or a test): devices
// see only these.
#pragma once

#include <cstdint>
#include <memory>

#include "vmm/core/guest_memory.h"
#include "vmm/core/result.h"

namespace vmm {

// An edge: signal() may be called from any thread, never blocks, and is cheap (one write to an
// eventfd).
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  virtual void signal() = 0;
};

// One MSI-X vector: the message it sends is programmed by the guest, at any time.
class MsiVector : public Interrupt {
 public:
  // From now on signal() sends `data` to `address`. Both are guest-controlled; an address that is
  // no interrupt window is accepted and goes nowhere. Fails where the host refuses the route.
  virtual Result<void> program(std::uint64_t address, std::uint32_t data) = 0;
};

class MsiController {
 public:
  virtual ~MsiController() = default;
  virtual Result<std::unique_ptr<MsiVector>> create_vector() = 0;
};

// Turns a guest store to an address into a count on an eventfd, without the vCPU leaving the kernel
// (ioeventfd).
class KickRegistrar {
 public:
  virtual ~KickRegistrar() = default;
  // Any store of any size at exactly `address` signals `event_fd`. The same triple undoes it.
  virtual Result<void> bind(GuestAddress address, int event_fd) = 0;
  virtual Result<void> unbind(GuestAddress address, int event_fd) = 0;
  // The same for 4-byte stores of `value` alone.
  virtual Result<void> bind_value(GuestAddress address, std::uint32_t value, int event_fd) = 0;
  virtual Result<void> unbind_value(GuestAddress address, std::uint32_t value, int event_fd) = 0;
};

}  // namespace vmm
