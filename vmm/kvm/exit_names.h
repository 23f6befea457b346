// SPDX-License-Identifier: Apache-2.0
// The names that the KVM API gives to exits and internal errors, for messages.
#pragma once

#include <cstdint>
#include <string>

namespace vmm::kvm {

std::string exit_name(std::uint32_t exit_reason);               // "KVM_EXIT_HLT"
std::string internal_error_name(std::uint32_t internal_error);  // what the suberror means

}  // namespace vmm::kvm
