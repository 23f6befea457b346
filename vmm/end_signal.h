// SPDX-License-Identifier: Apache-2.0
// EndSignal: the first reason to end a run wins; whoever waits is told through a descriptor.
#pragma once

#include <mutex>
#include <optional>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/outcome.h"

namespace vmm {

class EndSignal {
 public:
  static Result<EndSignal> create();
  EndSignal(EndSignal&& other) noexcept : event_fd_(std::move(other.event_fd_)) {}

  // From any thread; all but the first are ignored.
  void raise(Outcome outcome);

  int fd() const { return event_fd_.get(); }  // readable once raised, and never read
  std::optional<Outcome> outcome() const;

 private:
  explicit EndSignal(UniqueFd event_fd) : event_fd_(std::move(event_fd)) {}

  UniqueFd event_fd_;
  mutable std::mutex mutex_;  // guards what follows
  std::optional<Outcome> outcome_;
};

}  // namespace vmm
