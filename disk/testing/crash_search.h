// SPDX-License-Identifier: Apache-2.0
// Looks for a crash that loses or spoils something.
#pragma once

#include <cstdint>
#include <string>

#include "disk/testing/crash_states.h"

namespace vmm::disk {

struct CrashSearchOptions {
  std::uint64_t max_choices = 48;                     // per cut, fixed ones first
  std::uint64_t max_states = std::uint64_t{1} << 40;  // spread over the cuts
  std::uint64_t use_every = 16;    // every so many states: goes on writing to the image
  std::uint64_t oracle_every = 0;  // every so many states: asks `qemu-img check` too; 0: never
  std::string command = "disk-reliability";  // what replays a failure
};

struct CrashSearchResult {
  std::uint64_t cuts = 0;
  std::uint64_t states = 0;    // different images that were judged
  std::uint64_t repeated = 0;  // images that had been judged before, and were not again
  std::uint64_t oracle = 0;    // images that qemu-img judged
  std::uint64_t dirty = 0;     // images that said they were, and were repaired
  std::uint64_t leaky = 0;     // images with leaked clusters, which is allowed
  std::string failure;         // the first; empty: none. With the command that replays it.
};

CrashSearchResult search_crashes(EventLoop& loop, const WorkloadRun& run,
                                 const CrashSearchOptions& options);

// Judges one state again, and says what it is made of. Empty: nothing is wrong.
std::string replay_crash(EventLoop& loop, const WorkloadRun& run, std::uint64_t cut,
                         std::uint64_t choice, const std::string& save_as);

// What `qemu-img check` has against the image that a crash at `moment` left; empty: nothing but
// leaks. Fails where it cannot run.
Result<std::string> ask_qemu(const CrashState& state, const WorkloadRun& run, std::uint64_t moment);

}  // namespace vmm::disk
