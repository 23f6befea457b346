// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/unix_address.h"

#include <fmt/core.h>
#include <sys/socket.h>

namespace vmm {

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  // One byte stays for the zero behind it.
  if (path.size() >= sizeof address.sun_path) {
    return fail(ErrorKind::kInvalid, fmt::format("{}: the name of a socket has at most {} bytes",
                                                 path, sizeof address.sun_path - 1));
  }
  path.copy(address.sun_path, path.size());
  return address;
}

}  // namespace vmm
