// SPDX-License-Identifier: Apache-2.0
// Time by the ACPI PM timer. Reading it leaves the guest, so that the host has its turn.
#pragma once

#include <cstdint>

#include "arch/x86/layout.h"
#include "guest-tests/bare/lib/io.h"

namespace guest {

inline constexpr std::uint32_t kTicksPerSecond = 3579545;
// Hosts under load are slow; only failures wait this long.
inline constexpr std::uint32_t kPatience = 20 * kTicksPerSecond;

inline std::uint32_t timer_ticks() {
  return in32(vmm::x86::layout::kAcpiPmPort + 8);
}

// Waits until the condition holds; false where it does not in time.
template <class Condition>
bool wait_until(Condition condition) {
  std::uint32_t start = timer_ticks();
  while (!condition()) {
    if (timer_ticks() - start > kPatience) return condition();
  }
  return true;
}

}  // namespace guest
