// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/exit_names.h"

#include <fmt/core.h>

#include "vmm/kvm/abi.h"

namespace vmm::kvm {

std::string exit_name(std::uint32_t exit_reason) {
  switch (exit_reason) {
    case KVM_EXIT_UNKNOWN:
      return "KVM_EXIT_UNKNOWN";
    case KVM_EXIT_EXCEPTION:
      return "KVM_EXIT_EXCEPTION";
    case KVM_EXIT_IO:
      return "KVM_EXIT_IO";
    case KVM_EXIT_HYPERCALL:
      return "KVM_EXIT_HYPERCALL";
    case KVM_EXIT_DEBUG:
      return "KVM_EXIT_DEBUG";
    case KVM_EXIT_HLT:
      return "KVM_EXIT_HLT";
    case KVM_EXIT_MMIO:
      return "KVM_EXIT_MMIO";
    case KVM_EXIT_SHUTDOWN:
      return "KVM_EXIT_SHUTDOWN";
    case KVM_EXIT_FAIL_ENTRY:
      return "KVM_EXIT_FAIL_ENTRY";
    case KVM_EXIT_INTERNAL_ERROR:
      return "KVM_EXIT_INTERNAL_ERROR";
    case KVM_EXIT_SYSTEM_EVENT:
      return "KVM_EXIT_SYSTEM_EVENT";
    case KVM_EXIT_IOAPIC_EOI:
      return "KVM_EXIT_IOAPIC_EOI";
    case KVM_EXIT_X86_RDMSR:
      return "KVM_EXIT_X86_RDMSR";
    case KVM_EXIT_X86_WRMSR:
      return "KVM_EXIT_X86_WRMSR";
    default:
      return fmt::format("KVM exit reason {}", exit_reason);
  }
}

std::string internal_error_name(std::uint32_t internal_error) {
  switch (internal_error) {
    case KVM_INTERNAL_ERROR_EMULATION:
      return "KVM cannot emulate an instruction";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
      return "exceptions met that KVM cannot deliver together";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
      return "an event could not be delivered";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
      return "the processor left the guest for a reason KVM does not know";
    default:
      return fmt::format("suberror {}", internal_error);
  }
}

}  // namespace vmm::kvm
