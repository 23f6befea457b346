// SPDX-License-Identifier: Apache-2.0
// Features of the processor by the names that /proc/cpuinfo has for them, and taking them away from
// a guest.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "vmm/core/result.h"
#include "vmm/kvm/abi.h"

namespace vmm::x86 {

// Succeeds where `name` is a feature that a guest can do without. kNotFound: no such name is known;
// kInvalid: no 64-bit kernel starts without it.
Result<void> check_cpu_flag(std::string_view name);

// Takes the features away; unknown names are passed over (check_cpu_flag()).
void hide_cpu_flags(std::span<const std::string> names, std::span<kvm_cpuid_entry2> entries);

}  // namespace vmm::x86
