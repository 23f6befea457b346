// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/progress.h"

#include <fmt/core.h>
#include <signal.h>

#include <algorithm>
#include <csignal>

namespace vmm::tools {

namespace {

volatile std::sig_atomic_t asked = 0;

// Once per process, and for its rest: between two jobs a SIGUSR1 must not end it either.
void listen_to_signal() {
  struct sigaction action = {};
  action.sa_handler = [](int) { asked = 1; };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &action, nullptr);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGUSR1);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace

Progress::Progress(std::FILE* out, bool shown, std::uint64_t total)
    : out_(out), shown_(shown), total_(total) {
  listen_to_signal();
  print();
}

Progress::~Progress() {
  if (shown_) fmt::print(out_, "\n");
}

void Progress::advance(std::uint64_t amount) {
  done_ = std::min(total_, done_ + amount);
  print();
}

void Progress::finish() {
  done_ = total_;
  print();
}

double Progress::percent() const {
  return total_ == 0 ? 100 : 100 * static_cast<double>(done_) / static_cast<double>(total_);
}

void Progress::answer_signal() {
  if (asked == 0) return;
  asked = 0;
  fmt::print(stderr, "    ({:.2f}/100%)\n", percent());
}

void Progress::print() {
  answer_signal();
  if (!shown_) return;
  const double percent = this->percent();
  if (percent < printed_ + 1 && !(percent == 100 && printed_ < 100)) return;
  printed_ = percent;
  fmt::print(out_, "    ({:.2f}/100%)\r", percent);
  std::fflush(out_);
}

}  // namespace vmm::tools
