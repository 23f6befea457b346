// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/progress.h"

#include <fmt/core.h>

#include <algorithm>

namespace vmm::tools {

Progress::Progress(std::FILE* out, bool shown, std::uint64_t total)
    : out_(out), shown_(shown), total_(total) {
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

void Progress::print() {
  if (!shown_) return;
  const double percent =
      total_ == 0 ? 100 : 100 * static_cast<double>(done_) / static_cast<double>(total_);
  if (percent < printed_ + 1 && !(percent == 100 && printed_ < 100)) return;
  printed_ = percent;
  fmt::print(out_, "    ({:.2f}/100%)\r", percent);
  std::fflush(out_);
}

}  // namespace vmm::tools
