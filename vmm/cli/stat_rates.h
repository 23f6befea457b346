// SPDX-License-Identifier: Apache-2.0
// What a machine does per second, from two looks at what it has counted.
#pragma once

#include <string>

namespace vmm::cli {

// One look at a machine.
struct MachineSample {
  std::string name;
  int pid = 0;
  std::string answer;  // to the request "stat": a line of JSON
};

// A table for people. What is in `now` alone (a machine that booted again) counts from 0.
std::string describe_rates(const MachineSample& before, const MachineSample& now);

}  // namespace vmm::cli
