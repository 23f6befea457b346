// SPDX-License-Identifier: Apache-2.0
// Vm: one KVM virtual machine: its memory slots, its in-kernel interrupt controllers, and the
// routes by which devices reach them (irqfd) and guests reach devices (ioeventfd).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "vmm/core/guest_memory.h"
#include "vmm/core/interrupt.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/kvm/abi.h"
#include "vmm/kvm/kvm.h"

namespace vmm::kvm {

class Vm : public MsiController, public KickRegistrar {
 public:
  static Result<std::unique_ptr<Vm>> create(const Kvm& kvm);
  ~Vm() override;

  int fd() const { return fd_.get(); }

  // Gives the guest all of `memory`, which must outlive the Vm. Once.
  Result<void> map_memory(const GuestMemory& memory);

  // Three pages below 4 GiB that Intel processors without "unrestricted guest" need for real mode
  // (KVM_SET_TSS_ADDR).
  Result<void> set_tss_address(GuestAddress address);

  // Local APICs, one IOAPIC with kNrIoapicPins pins and (unavoidably) two 8259s. Before any vCPU is
  // made.
  Result<void> create_irqchip();

  // An edge on pin `gsi` (< kNrIoapicPins) of the IOAPIC.
  Result<std::unique_ptr<Interrupt>> create_line(std::uint32_t gsi);

  // The vectors must not outlive the Vm.
  Result<std::unique_ptr<MsiVector>> create_vector() override;

  Result<void> bind(GuestAddress address, int event_fd) override;
  Result<void> unbind(GuestAddress address, int event_fd) override;
  Result<void> bind_value(GuestAddress address, std::uint32_t value, int event_fd) override;
  Result<void> unbind_value(GuestAddress address, std::uint32_t value, int event_fd) override;

  static constexpr std::uint32_t kNrIoapicPins = 24;

 private:
  class IrqFdLine;
  class IrqFdVector;

  explicit Vm(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<void> attach_irqfd(std::uint32_t gsi, int event_fd, bool assign);
  // Without a value: stores of any size and value.
  Result<void> set_ioeventfd(GuestAddress address, std::optional<std::uint32_t> value, int event_fd,
                             bool assign);
  // Both keep the kernel's routing table equal to routes_.
  Result<void> route_msi(std::uint32_t gsi, std::uint64_t address, std::uint32_t data);
  void release_gsi(std::uint32_t gsi);
  Result<void> commit_routes();

  UniqueFd fd_;

  std::mutex mutex_;  // guards what follows: vCPU threads program vectors
  std::vector<kvm_irq_routing_entry> routes_;
  std::vector<bool> msi_gsi_taken_;  // [i] is GSI kNrIoapicPins + i
};

}  // namespace vmm::kvm
