// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/version_order.h"

#include <algorithm>
#include <string>
#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {

TEST_CASE("compare_versions: kernels sort by number, not by letter", "[bootfind]") {
  CHECK(compare_versions("6.1.0-9-amd64", "6.1.0-18-amd64") < 0);
  CHECK(compare_versions("6.10.3", "6.9.12") > 0);
  CHECK(compare_versions("6.1.0-18-amd64", "6.1.0-18-amd64") == 0);
  CHECK(compare_versions("6.5.6-300.fc39.x86_64", "6.11.4-301.fc41.x86_64") < 0);
  CHECK(compare_versions("0-rescue-ab12", "5.4.0") < 0);
}

TEST_CASE("compare_versions: the examples of the version format specification hold", "[bootfind]") {
  // UAPI group, "Version Format Specification", Examples.
  CHECK(compare_versions("11", "11") == 0);
  CHECK(compare_versions("systemd-123", "systemd-123") == 0);
  CHECK(compare_versions("bar-123", "foo-123") < 0);
  CHECK(compare_versions("123a", "123") > 0);
  CHECK(compare_versions("123.a", "123") > 0);
  CHECK(compare_versions("123.a", "123.b") < 0);
  CHECK(compare_versions("123a", "123.a") > 0);
  CHECK(compare_versions("11\xce\xb1", "11\xce\xb2") == 0);
  CHECK(compare_versions("A", "a") < 0);
  CHECK(compare_versions("", "0") < 0);
  CHECK(compare_versions("0.", "0") > 0);
  CHECK(compare_versions("0.0", "0") > 0);
  CHECK(compare_versions("0", "~") > 0);
  CHECK(compare_versions("", "~") > 0);
  CHECK(compare_versions("1_", "1") == 0);
  CHECK(compare_versions("_1", "1") == 0);
  CHECK(compare_versions("1_", "1.2") < 0);
  CHECK(compare_versions("1_2_3", "1.3.3") > 0);
  CHECK(compare_versions("1+", "1") == 0);
  CHECK(compare_versions("+1", "1") == 0);
  CHECK(compare_versions("1+", "1.2") < 0);
  CHECK(compare_versions("1+2+3", "1.3.3") > 0);
}

TEST_CASE("compare_versions: of any two exactly one is greater", "[bootfind]") {
  const std::vector<std::string> all = {"",    "~",     "~rc1", "1",     "1a",
                                        "1.a", "1~rc1", "1-1",  "1^2",   "1.0",
                                        "01",  "1..2",  "a1",   "A.b-c", "9999999999999999999999"};
  for (const std::string& a : all) {
    for (const std::string& b : all) {
      INFO(a << " and " << b);
      CHECK(compare_versions(a, b) == -compare_versions(b, a));
    }
  }
}

}  // namespace vmm::bootfind
