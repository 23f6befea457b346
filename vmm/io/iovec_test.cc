// SPDX-License-Identifier: Apache-2.0
#include "vmm/io/iovec.h"

#include <array>
#include <string>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

struct Letters {
  std::string a = "abc", empty, b = "defgh", c = "i";
  std::array<iovec, 4> iov{{{a.data(), 3}, {empty.data(), 0}, {b.data(), 5}, {c.data(), 1}}};
};

std::string text_of(IoVec iov) {
  std::string text;
  for (const iovec& part : iov) text.append(static_cast<const char*>(part.iov_base), part.iov_len);
  return text;
}

TEST_CASE("iovec: every slice holds the bytes of its range", "[io]") {
  Letters letters;
  const std::string all = "abcdefghi";
  REQUIRE(total_size(letters.iov) == all.size());
  for (std::size_t skip = 0; skip <= all.size(); ++skip) {
    for (std::size_t length = 0; skip + length <= all.size(); ++length) {
      std::vector<iovec> out;
      append_slice(letters.iov, skip, length, out);
      CHECK(text_of(out) == all.substr(skip, length));
    }
  }
}

TEST_CASE("iovec: a cursor hands out consecutive pieces", "[io]") {
  Letters letters;
  IovecCursor cursor(letters.iov);
  std::string seen;
  for (std::size_t length : {2, 0, 4, 3}) {
    std::vector<iovec> out;
    cursor.take(length, out);
    CHECK(total_size(out) == length);
    seen += text_of(out);
  }
  CHECK(seen == "abcdefghi");
}

TEST_CASE("iovec: copies and fills cross the borders of parts", "[io]") {
  Letters letters;
  std::array<std::byte, 4> bytes{};
  copy_from_iovec(letters.iov, 2, bytes);
  CHECK(bytes[0] == std::byte{'c'});
  CHECK(bytes[3] == std::byte{'f'});
  copy_to_iovec(bytes, letters.iov, 0);
  CHECK(text_of(letters.iov) == "cdefefghi");
  CHECK(!is_zero(letters.iov));
  fill(letters.iov, 0, 9, std::byte{0});
  CHECK(is_zero(letters.iov));
}

}  // namespace
}  // namespace vmm
