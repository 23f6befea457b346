// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/option_list.h"

#include "vmm/core/testing/catch.h"

namespace vmm::tools {
namespace {

TEST_CASE("parse_option_list: doubled commas belong to the value", "[tools]") {
  const Result<OptionList> list = parse_option_list("a=1,b=x,,y,c,d=");
  REQUIRE(list.has_value());
  const OptionList wanted = {{"a", "1"}, {"b", "x,y"}, {"c", "on"}, {"d", ""}};
  CHECK(*list == wanted);
}

TEST_CASE("parse_option_list: an item without a name is refused", "[tools]") {
  CHECK_FALSE(parse_option_list("a=1,=2").has_value());
  CHECK_FALSE(parse_option_list(",a=1").has_value());
  CHECK(parse_option_list("")->empty());
}

}  // namespace
}  // namespace vmm::tools
