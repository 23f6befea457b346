// SPDX-License-Identifier: Apache-2.0
// Interrupts of one processor: an IDT, the local APIC, and IOAPIC pins.
#pragma once

#include <cstdint>

namespace guest {

inline constexpr std::uint8_t kFirstVector = 0x40;  // of kNrVectors that are counted
inline constexpr unsigned kNrVectors = 4;

// Loads the IDT, turns the local APIC on, and lets interrupts in.
void enable_interrupts();

// How often a vector (kFirstVector + index) has come.
unsigned nr_interrupts(unsigned index);
// Waits until it has come that often; false where it does not in time.
bool wait_for_interrupts(unsigned index, unsigned count);

// Sends an IOAPIC pin, edge-triggered, to a vector; or nowhere.
void route_pin(unsigned pin, std::uint8_t vector);
void mask_pin(unsigned pin);

// The message that brings a vector here (Intel SDM volume 3, 11.11).
constexpr std::uint64_t msi_address() {
  return 0xfee00000;
}
constexpr std::uint32_t msi_data(unsigned index) {
  return kFirstVector + index;
}

}  // namespace guest
