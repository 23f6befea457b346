// SPDX-License-Identifier: Apache-2.0
// Where everything is in the guest: physical addresses, ports, and interrupt numbers. Nothing else
// in the tree writes one of these down.
//
//   0          .. 640 KiB    RAM: boot structures below 0x30000
//   640 KiB    .. 1 MiB      RAM too, but reserved: ACPI tables from 0xe0000
//   1 MiB      .. 3 GiB      RAM: kernel low, initrd high
//   3 GiB      .. 4 GiB      no RAM: PCI window, ECAM, virtio-mmio, IOAPIC, local APICs
//   4 GiB      ..            the rest of RAM
#pragma once

#include <cstdint>

namespace vmm::x86::layout {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// Four descriptors that the boot protocols ask for; the processor reads it at the first far jump.
inline constexpr std::uint64_t kGdt = 0x500;

// struct hvm_start_info with its module list and memory map, for PVH kernels (one page).
inline constexpr std::uint64_t kPvhStartInfo = 0x6000;

// struct boot_params, the "zero page" of the Linux boot protocol (one page).
inline constexpr std::uint64_t kZeroPage = 0x7000;

// The stack that the first processor starts with grows down from here.
inline constexpr std::uint64_t kBootStack = 0x8ff0;

// Page tables that map the first 4 GiB to themselves: PML4, PDPT and four page directories.
inline constexpr std::uint64_t kPageTables = 0x9000;

// The flattened device tree, behind its struct setup_data, for kernels without ACPI.
inline constexpr std::uint64_t kDeviceTree = 0x10000;
inline constexpr std::uint64_t kDeviceTreeSize = 0x10000;  // bytes

// The kernel command line, with its final zero.
inline constexpr std::uint64_t kCommandLine = 0x20000;
inline constexpr std::uint64_t kCommandLineSize = 0x10000;  // bytes

// Conventional memory ends here; a PC's BIOS keeps its extended data area above.
inline constexpr std::uint64_t kLowMemoryEnd = 0x9fc00;

// The RSDP is the first of the ACPI tables, in the area that kernels search for it.
inline constexpr std::uint64_t kAcpiTables = 0xe0000;
inline constexpr std::uint64_t kAcpiTablesSize = 0x20000;  // bytes

// The MP tables, where there is no ACPI: in the area that kernels search for them.
inline constexpr std::uint64_t kMpTables = 0xf0000;

// Extended memory, where kernels are loaded.
inline constexpr std::uint64_t kHighMemoryStart = 1 * kMiB;

// RAM stops here and goes on at kRamAboveHole.
inline constexpr std::uint64_t kMmioHole = 3 * kGiB;
inline constexpr std::uint64_t kRamAboveHole = 4 * kGiB;

// From here PCI devices get addresses for their 32-bit memory BARs. There is no 64-bit window: all
// our BARs are small.
inline constexpr std::uint64_t kPciWindow = kMmioHole;
inline constexpr std::uint64_t kPciWindowSize = 512 * kMiB;

// PCI configuration space of bus 0, memory-mapped (PCI Express ECAM): 4 KiB for each function.
inline constexpr std::uint64_t kPciEcam = 0xe0000000;
inline constexpr std::uint64_t kPciEcamSize = 1 * kMiB;

// Registers of virtio-mmio devices, one window after the other, and their interrupt lines: IOAPIC
// pins that nothing else uses here, nor on a PC (timer, keyboard, serial ports, clock, SCI).
inline constexpr std::uint64_t kVirtioMmio = 0xfeb00000;
inline constexpr std::uint64_t kVirtioMmioSize = 0x1000;  // bytes of one
inline constexpr std::uint32_t kVirtioMmioGsis[] = {5,  6,  7,  10, 11, 12, 13, 14, 15,
                                                    16, 17, 18, 19, 20, 21, 22, 23};

// The in-kernel IOAPIC and local APICs; KVM has them at these addresses.
inline constexpr std::uint64_t kIoapic = 0xfec00000;
inline constexpr std::uint64_t kLocalApic = 0xfee00000;

// Three pages that KVM needs for itself on some Intel processors (KVM_SET_TSS_ADDR).
inline constexpr std::uint64_t kKvmTss = 0xfffbd000;

// The most RAM that can be asked for: what 46 address bits leave; KVM and the host limit it sooner.
inline constexpr std::uint64_t kMaxRam = std::uint64_t{1} << 45;

// The first serial port, ttyS0, as PCs have it.
inline constexpr std::uint16_t kCom1Port = 0x3f8;
inline constexpr std::uint32_t kCom1Gsi = 4;

// ACPI's fixed hardware: power management event and control registers, PM timer, reset register.
inline constexpr std::uint16_t kAcpiPmPort = 0x600;

// The port for a kernel's panic (pvpanic), where QEMU has it.
inline constexpr std::uint16_t kPvPanicPort = 0x505;

// The system control interrupt, by which ACPI hardware (the power button) speaks up.
inline constexpr std::uint32_t kSciGsi = 9;

// I/O ports from here on are the PCI bus's, which has no I/O BARs today.
inline constexpr std::uint16_t kPciPorts = 0x1000;

}  // namespace vmm::x86::layout
