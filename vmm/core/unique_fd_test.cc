// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/unique_fd.h"

#include <fcntl.h>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST_CASE("UniqueFd: closes exactly what it owns", "[core]") {
  int raw = -1;
  {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(fd);
    raw = fd.get();
    UniqueFd moved = std::move(fd);
    CHECK(!fd);
    CHECK(moved.get() == raw);
    CHECK(is_open(raw));
  }
  CHECK(!is_open(raw));
}

}  // namespace
}  // namespace vmm
