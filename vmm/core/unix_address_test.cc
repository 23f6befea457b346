// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/unix_address.h"

#include <sys/socket.h>

#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

TEST_CASE("A path that fits becomes the address of a Unix socket", "[unix_address]") {
  const std::string path(107, 'a');
  const Result<sockaddr_un> address = unix_address(path);
  REQUIRE(address);
  CHECK(address->sun_family == AF_UNIX);
  CHECK(std::string(address->sun_path) == path);
}

TEST_CASE("A path too long for a Unix socket is refused", "[unix_address]") {
  const Result<sockaddr_un> address = unix_address(std::string(108, 'a'));
  REQUIRE_FALSE(address);
  CHECK(address.error().kind() == ErrorKind::kInvalid);
  CHECK(address.error().message().find("at most 107 bytes") != std::string::npos);
}

}  // namespace
}  // namespace vmm
