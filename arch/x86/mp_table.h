// SPDX-License-Identifier: Apache-2.0
// The MultiProcessor tables (Intel MultiProcessor Specification 1.4, chapter 4): how a kernel finds
// the processors and the IOAPIC where there is no ACPI.
#pragma once

#include <cstdint>

#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

// Puts the floating pointer at layout::kMpTables, where kernels search for it, and the
// configuration table behind it. APIC ids are 0 ... nr_cpus - 1, at most 254 processors.
Result<void> write_mp_tables(const GuestMemory& memory, std::uint32_t nr_cpus);

}  // namespace vmm::x86
