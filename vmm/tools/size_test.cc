// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/size.h"

#include <utility>
#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm::tools {
namespace {

TEST_CASE("parse_size: suffixes, fractions and hexadecimal are understood", "[tools]") {
  const std::vector<std::pair<const char*, std::uint64_t>> cases = {
      {"0", 0},
      {"512", 512},
      {"512b", 512},
      {"1B", 1},
      {"1k", 1024},
      {"1K", 1024},
      {"64M", 64 << 20},
      {"1.5k", 1536},
      {"0.7k", 717},
      {"1.", 1},
      {"1.0", 1},
      {"1.k", 1024},
      {"0x200", 512},
      {"0X10", 16},
      {"0x10b", 267},
      {"0x1k", 1024},
      {"010", 10},
      {"08", 8},
      {" 7", 7},
      {"+5", 5},
      {"1t", std::uint64_t{1} << 40},
      {"1e", std::uint64_t{1} << 60},
      {"9223372036854775807", INT64_MAX},
  };
  for (const auto& [text, bytes] : cases) {
    CAPTURE(text);
    const Result<std::uint64_t> size = parse_size(text);
    REQUIRE(size.has_value());
    CHECK(*size == bytes);
  }
}

TEST_CASE("parse_size: what is no size is refused", "[tools]") {
  for (const char* text : {"", "x", "-1", "-0", "1kb", "1.5", "1e3", "0x", "0x1.8", ".5k", "1M1",
                           "1 k", "nan", "inf", "0b1"}) {
    CAPTURE(text);
    const Result<std::uint64_t> size = parse_size(text);
    REQUIRE(!size.has_value());
    CHECK(size.error().kind() == ErrorKind::kInvalid);
  }
}

TEST_CASE("parse_size: what does not fit 63 bits is too large", "[tools]") {
  for (const char* text : {"8E", "16E", "9223372036854775808", "99999999999999999999999", "8.0E"}) {
    CAPTURE(text);
    const Result<std::uint64_t> size = parse_size(text);
    REQUIRE(!size.has_value());
    CHECK(size.error().kind() == ErrorKind::kOutOfRange);
  }
}

TEST_CASE("parse_size: a number without suffix takes the default unit", "[tools]") {
  CHECK(*parse_size("3", 1 << 20) == 3 << 20);
  CHECK(*parse_size("3k", 1 << 20) == 3 << 10);
}

TEST_CASE("format_size: whole numbers have no fraction, others three digits", "[tools]") {
  CHECK(format_size(0) == "0 bytes");
  CHECK(format_size(512) == "512 bytes");
  CHECK(format_size(307.63239) == "307.632390 bytes");
  CHECK(format_size(4096) == "4 KiB");
  CHECK(format_size(1500) == "1.465 KiB");
  CHECK(format_size(1536) == "1.500 KiB");
  CHECK(format_size(0x1p30 * 1.5) == "1.500 GiB");
  CHECK(format_size(0x1p62) == "4 EiB");
}

TEST_CASE("format_size_short: three significant digits of the largest unit", "[tools]") {
  CHECK(format_size_short(0) == "0 B");
  CHECK(format_size_short(512) == "512 B");
  CHECK(format_size_short(999) == "999 B");
  CHECK(format_size_short(1000) == "0.977 KiB");
  CHECK(format_size_short(1536) == "1.5 KiB");
  CHECK(format_size_short(200704) == "196 KiB");
  CHECK(format_size_short(64 << 20) == "64 MiB");
  CHECK(format_size_short(std::uint64_t{10} << 30) == "10 GiB");
}

}  // namespace
}  // namespace vmm::tools
