// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/histogram.h"

#include <cmath>

#include "vmm/core/testing/catch.h"

namespace vmm::tools {
namespace {

TEST_CASE("Histogram: percentiles are within two per cent of the truth", "[tools]") {
  Histogram histogram;
  for (std::uint64_t i = 1; i <= 1'000'000; ++i) histogram.add(i);
  for (double fraction : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    CAPTURE(fraction);
    const double truth = fraction * 1e6;
    CHECK(std::abs(static_cast<double>(histogram.percentile(fraction)) - truth) < truth * 0.02);
  }
  CHECK(histogram.percentile(0) >= 1);
  CHECK(histogram.percentile(1) == 1'000'000);
  CHECK(histogram.mean() == 500000.5);
}

TEST_CASE("Histogram: small values are exact, and the largest value has a bucket", "[tools]") {
  Histogram histogram;
  histogram.add(3);
  histogram.add(UINT64_MAX);
  CHECK(histogram.percentile(0) == 3);
  CHECK(histogram.min() == 3);
  CHECK(histogram.percentile(1) == UINT64_MAX);
}

TEST_CASE("Histogram: without values everything is zero", "[tools]") {
  const Histogram histogram;
  CHECK(histogram.percentile(0.5) == 0);
  CHECK(histogram.min() == 0);
  CHECK(histogram.mean() == 0);
}

}  // namespace
}  // namespace vmm::tools
