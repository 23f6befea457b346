// SPDX-License-Identifier: Apache-2.0
// The processors of the host that threads run on.
#pragma once

#include "vmm/core/result.h"

namespace vmm {

inline constexpr unsigned kMaxHostCpus = 8192;  // Linux's NR_CPUS at most

bool may_run_on(unsigned cpu);

// From now on the calling thread runs there and nowhere else.
Result<void> pin_to(unsigned cpu);

}  // namespace vmm
