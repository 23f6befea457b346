// SPDX-License-Identifier: Apache-2.0
#include "guest-tests/bare/lib/interrupts.h"

#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/io.h"
#include "guest-tests/bare/lib/timer.h"

namespace guest {
namespace {

namespace layout = vmm::x86::layout;

struct Gate {
  std::uint16_t offset_low;
  std::uint16_t selector;
  std::uint8_t stack;
  std::uint8_t type;
  std::uint16_t offset_middle;
  std::uint32_t offset_high;
  std::uint32_t reserved;
};
static_assert(sizeof(Gate) == 16);

struct [[gnu::packed]] IdtPointer {
  std::uint16_t limit;
  std::uint64_t base;
};

struct Frame;  // what the processor pushed; not looked at

constexpr std::uint8_t kInterruptGate = 0x8e;  // present, 64-bit
constexpr std::uint16_t kCodeSelector = 8;
constexpr std::uint64_t kApicEoi = layout::kLocalApic + 0xb0;
constexpr std::uint64_t kApicTaskPriority = layout::kLocalApic + 0x80;
constexpr std::uint64_t kApicSpurious = layout::kLocalApic + 0xf0;
constexpr std::uint32_t kApicEnabled = 0x1ff;  // and spurious interrupts to vector 0xff
constexpr std::uint32_t kIoapicRedirection = 0x10;
constexpr std::uint32_t kIoapicMasked = 1 << 16;

Gate idt[256];
volatile unsigned counts[kNrVectors];

template <unsigned Index>
__attribute__((interrupt)) void count(Frame*) {
  counts[Index] = counts[Index] + 1;
  write<std::uint32_t>(kApicEoi, 0);
}

__attribute__((interrupt)) void ignore(Frame*) {
}

void set_gate(unsigned vector, void (*handler)(Frame*)) {
  auto address = reinterpret_cast<std::uint64_t>(handler);
  idt[vector] = Gate{static_cast<std::uint16_t>(address),
                     kCodeSelector,
                     0,
                     kInterruptGate,
                     static_cast<std::uint16_t>(address >> 16),
                     static_cast<std::uint32_t>(address >> 32),
                     0};
}

void write_ioapic(std::uint32_t reg, std::uint32_t value) {
  write<std::uint32_t>(layout::kIoapic, reg);
  write<std::uint32_t>(layout::kIoapic + 0x10, value);
}

}  // namespace

void enable_interrupts() {
  set_gate(kFirstVector + 0, count<0>);
  set_gate(kFirstVector + 1, count<1>);
  set_gate(kFirstVector + 2, count<2>);
  set_gate(kFirstVector + 3, count<3>);
  set_gate(0xff, ignore);
  IdtPointer pointer{sizeof idt - 1, address_of(idt)};
  asm volatile("lidt %0" : : "m"(pointer));
  // The two 8259s stay quiet.
  out8(0x21, 0xff);
  out8(0xa1, 0xff);
  write<std::uint32_t>(kApicTaskPriority, 0);
  write<std::uint32_t>(kApicSpurious, kApicEnabled);
  asm volatile("sti");
}

unsigned nr_interrupts(unsigned index) {
  return counts[index];
}

bool wait_for_interrupts(unsigned index, unsigned count) {
  return wait_until([=] { return counts[index] >= count; });
}

void route_pin(unsigned pin, std::uint8_t vector) {
  write_ioapic(kIoapicRedirection + 2 * pin + 1, 0);  // to APIC 0
  write_ioapic(kIoapicRedirection + 2 * pin, vector);
}

void mask_pin(unsigned pin) {
  write_ioapic(kIoapicRedirection + 2 * pin, kIoapicMasked);
}

}  // namespace guest
