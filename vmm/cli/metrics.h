// SPDX-License-Identifier: Apache-2.0
// What machines have counted, as Prometheus reads it (text-based exposition format 0.0.4).
#pragma once

#include <span>
#include <string>

#include "vmm/cli/stat_rates.h"

namespace vmm::cli {

std::string describe_metrics(std::span<const MachineSample> samples);

}  // namespace vmm::cli
