// SPDX-License-Identifier: Apache-2.0
// A process id is known only at run time: filters are generated with this in its place.
#pragma once

#include <cstdint>

namespace vmm::sandbox {

inline constexpr std::uint32_t kOwnPidPlaceholder = 0x7fee1bad;  // above any process id (2^22)

}  // namespace vmm::sandbox
