// SPDX-License-Identifier: Apache-2.0
// A guest of a few instructions that shows what a /dev/kvm is worth: how fast it runs code, and
// whether it runs instructions that stock kernels need but KVM's instruction emulator lacks.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/core/result.h"
#include "vmm/kvm/kvm.h"

namespace vmm {

struct ProbeResult {
  double instructions_per_second = 0;  // of a loop of two plain instructions
  bool cmpxchg16b = false;             // ran; the slab allocator of Linux uses it
  bool xrstor = false;                 // ran; every context switch uses it
  bool has_xsave = false;              // whether the processor has it at all
  std::string failure;                 // what ended the guest before it was through; else empty
};

// Takes some milliseconds, or up to about a second where the guest is interpreted. Fails where the
// guest cannot even be set up.
Result<ProbeResult> run_probe_guest(const kvm::Kvm& kvm);

}  // namespace vmm
