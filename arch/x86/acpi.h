// SPDX-License-Identifier: Apache-2.0
// The ACPI tables: how a kernel finds the processors, the IOAPIC, PCI, virtio-mmio and COM1, and
// how it powers off and resets (ACPI 6.4, chapter 5).
#pragma once

#include <cstdint>
#include <vector>

#include "arch/x86/virtio_mmio.h"
#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

// Where in the machine ACPI's fixed hardware is. The layout must be that of the device the machine
// puts there.
struct AcpiPmPorts {
  std::uint16_t pm1_event;    // 4 ports
  std::uint16_t pm1_control;  // 2 ports
  std::uint16_t timer;        // 4 ports, 32 bits wide
  std::uint16_t reset;        // 1 port
  std::uint8_t reset_value;
  std::uint8_t sleep_type_power_off;  // SLP_TYP of S5
};

struct AcpiConfig {
  std::uint32_t nr_cpus = 1;  // APIC ids 0 ... nr_cpus - 1, at most 255
  AcpiPmPorts pm;
  bool has_rtc = false;                 // a CMOS RTC at ports 0x70 and 0x71
  std::vector<VirtioMmio> virtio_mmio;  // at most 256
};

// The DSDT alone, for tests that disassemble it.
std::vector<std::uint8_t> make_dsdt(const AcpiConfig& config);

// Writes all tables at layout::kAcpiTables; returns the address of the RSDP.
Result<std::uint64_t> write_acpi_tables(const GuestMemory& memory, const AcpiConfig& config);

}  // namespace vmm::x86
