// SPDX-License-Identifier: Apache-2.0
// Histogram: counts durations in buckets of about 1.6% width, so that a benchmark can tell its
// percentiles without keeping, or allocating, anything per request.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace vmm::tools {

class Histogram {
 public:
  void add(std::uint64_t value) {
    ++counts_[bucket_of(value)];
    ++nr_;
    sum_ += value;
    if (value < min_) min_ = value;
    if (value > max_) max_ = value;
  }

  std::uint64_t nr() const { return nr_; }
  std::uint64_t min() const { return nr_ == 0 ? 0 : min_; }
  std::uint64_t max() const { return max_; }
  double mean() const {
    return nr_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(nr_);
  }
  // The value that `fraction` (0..1) of all do not exceed, to within a bucket.
  std::uint64_t percentile(double fraction) const;

 private:
  // 64 buckets for each power of two; values below 64 have one each.
  static constexpr unsigned kSubBits = 6;
  static constexpr std::size_t kNrBuckets = (64 - kSubBits + 1) << kSubBits;

  static std::size_t bucket_of(std::uint64_t value) {
    const unsigned bits = static_cast<unsigned>(std::bit_width(value));
    if (bits <= kSubBits) return value;
    const unsigned shift = bits - kSubBits - 1;
    return (static_cast<std::size_t>(shift) << kSubBits) + (value >> shift);
  }
  // The largest value that belongs into a bucket.
  static std::uint64_t upper_edge(std::size_t bucket);

  std::array<std::uint64_t, kNrBuckets> counts_ = {};
  std::uint64_t nr_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = UINT64_MAX;
  std::uint64_t max_ = 0;
};

}  // namespace vmm::tools
