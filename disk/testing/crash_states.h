// SPDX-License-Identifier: Apache-2.0
// Crash states: every image that a crash during a recorded workload may leave behind.
//
// A cut is a moment of the recording. In front of it, operations that a completed sync covers have
// happened; of the others each 512-byte sector may hold what any of them wrote, or what was there
// before. A choice says which; the first choices of a cut are fixed (nothing, everything, all but
// one, only one, every subset where there are few), further ones come from the seed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "disk/testing/workload.h"

namespace vmm::disk {

// What a crash leaves: the image, and its external data file where it has one.
struct CrashState {
  std::vector<std::byte> image;
  std::vector<std::byte> data;

  std::vector<std::byte>& file(unsigned number) { return number == 0 ? image : data; }
};

class CrashStates {
 public:
  explicit CrashStates(const WorkloadRun& run);

  std::uint64_t nr_cuts() const { return cuts_.size(); }
  // The moment of a cut, in the recording's clock.
  std::uint64_t moment(std::uint64_t cut) const { return cuts_[cut]; }

  // Goes to a cut; forward only, so that what is durable is applied once.
  void advance_to(std::uint64_t cut);
  // Of the present cut: choices below this number are all different in kind; beyond it they are
  // random ones.
  std::uint64_t nr_fixed_choices() const;
  std::uint64_t nr_pending() const { return pending_.size(); }
  CrashState state(std::uint64_t choice) const;
  // What of the pending operations a choice keeps, for whoever looks for the bug.
  std::string describe(std::uint64_t choice) const;

 private:
  enum class Keep : std::uint8_t { kNo, kYes, kSectors, kPrefix };
  struct Choice {
    std::vector<Keep> keep;   // per pending operation
    std::uint64_t seed = 0;   // for sectors
    unsigned kept_in_16 = 8;  // how likely a sector is kept
    bool size_kept = false;   // the file has grown although the data is not there
  };

  Choice choice(std::uint64_t number) const;
  bool is_durable(const StorageOp& op, std::uint64_t moment) const;

  const WorkloadRun& run_;
  std::vector<std::uint64_t> cuts_;
  struct Sync {
    unsigned file;
    std::uint64_t began;
    std::uint64_t ended;
  };
  std::vector<Sync> syncs_;
  std::uint64_t cut_ = 0;
  CrashState base_;                   // with all that is durable at cut_
  std::vector<std::size_t> pending_;  // indices of the recording, in the order they began
  std::size_t next_op_ = 0;           // not yet looked at
};

// What is wrong with what a crash at `moment` left; empty: nothing.
struct CrashVerdict {
  std::string wrong;
  std::uint64_t leaks = 0;
  std::uint64_t copied_leaks = 0;  // only where version 2 cannot help it
  bool dirty = false;              // the image said so, and opening it repaired it
};
CrashVerdict judge_crash(EventLoop& loop, const WorkloadRun& run, const CrashState& state,
                         std::uint64_t moment, bool write_afterwards);

}  // namespace vmm::disk
