// SPDX-License-Identifier: Apache-2.0
// A child process for work on hostile bytes: it has the descriptors it was given and those it
// opened before it was confined, and nothing else; it answers with one string.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "vmm/core/result.h"

namespace vmm::bootfind {

struct ChildLimits {
  std::chrono::milliseconds time{30'000};  // then it is killed
  std::uint64_t memory = 512ULL << 20;     // bytes of address space, beyond what the parent has
  std::uint64_t file_size = 1ULL << 30;    // bytes of each file it writes
  std::size_t answer = 4 << 20;            // bytes; a longer one is an error
};

// Called once by the work when it has opened what it needs: no file can be opened, no process or
// thread made, no memory made executable afterwards. On an error the work must end.
using Confine = std::function<Result<void>()>;
using ChildWork = std::function<std::string(const Confine& confine)>;

// Runs `work` in a forked child and gives its answer, which is not to be believed. `keep`: the
// descriptors that stay open there. To be called while the process has one thread. A child that
// crashes, is too slow or makes a forbidden call is a kInvalid error that says so.
Result<std::string> run_confined(const ChildLimits& limits, std::span<const int> keep,
                                 const ChildWork& work);

}  // namespace vmm::bootfind
