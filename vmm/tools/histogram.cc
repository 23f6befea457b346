// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/histogram.h"

#include <algorithm>

namespace vmm::tools {

std::uint64_t Histogram::upper_edge(std::size_t bucket) {
  if (bucket < (std::size_t{1} << kSubBits)) return bucket;
  const std::size_t shift = (bucket >> kSubBits) - 1;
  const std::uint64_t mantissa = bucket - (shift << kSubBits);
  return ((mantissa + 1) << shift) - 1;
}

std::uint64_t Histogram::percentile(double fraction) const {
  if (nr_ == 0) return 0;
  const auto rank = static_cast<std::uint64_t>(fraction * static_cast<double>(nr_ - 1));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    seen += counts_[bucket];
    if (seen > rank) return std::clamp(upper_edge(bucket), min(), max_);
  }
  return max_;
}

}  // namespace vmm::tools
