// SPDX-License-Identifier: Apache-2.0
#include "vmm/end_signal.h"

#include <sys/eventfd.h>

#include <cstdint>

namespace vmm {

Result<EndSignal> EndSignal::create() {
  UniqueFd event_fd(::eventfd(0, EFD_CLOEXEC));
  if (!event_fd) return fail_errno(errno, "eventfd");
  return EndSignal(std::move(event_fd));
}

void EndSignal::raise(Outcome outcome) {
  std::lock_guard lock(mutex_);
  if (outcome_) return;
  outcome_ = std::move(outcome);
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = ::write(event_fd_.get(), &one, sizeof one);
}

std::optional<Outcome> EndSignal::outcome() const {
  std::lock_guard lock(mutex_);
  return outcome_;
}

}  // namespace vmm
