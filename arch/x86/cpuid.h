// SPDX-License-Identifier: Apache-2.0
// The CPUID a guest sees: what KVM supports here, with the topology of this VM.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/kvm/abi.h"

namespace vmm::x86 {

struct CpuidConfig {
  std::uint32_t nr_cpus = 1;        // one socket, a core each, no threads
  std::uint32_t apic_id = 0;        // of the vCPU these leaves are for
  bool tsc_deadline_timer = false;  // KVM_CAP_TSC_DEADLINE_TIMER; not in the supported list
};

// `supported` is KVM_GET_SUPPORTED_CPUID's list.
std::vector<kvm_cpuid_entry2> guest_cpuid(std::span<const kvm_cpuid_entry2> supported,
                                          const CpuidConfig& config);

}  // namespace vmm::x86
