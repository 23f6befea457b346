// SPDX-License-Identifier: Apache-2.0
#include "vmm/vhost_vsock_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>

namespace vmm {
namespace {

constexpr const char* kFile = "/dev/vhost-vsock";

Unexpected<Error> no_file(int err) {
  const char* what_to_do = "";
  if (err == ENOENT || err == ENODEV || err == ENXIO) {
    what_to_do = "; load the kernel's module (modprobe vhost_vsock), or give a PATH to do without";
  } else if (err == EACCES || err == EPERM) {
    what_to_do = "; give this user the right to it, or give a PATH to do without";
  }
  const Error error = Error::from_errno(err, kFile);
  return fail(error.kind(), fmt::format("--vsock vhost: {}{}", error.message(), what_to_do));
}

}  // namespace

Result<void> check_vhost_vsock() {
  if (::access(kFile, R_OK | W_OK) != 0) return no_file(errno);
  return {};
}

Result<UniqueFd> open_vhost_vsock() {
  UniqueFd file(::open(kFile, O_RDWR | O_CLOEXEC));
  if (!file) return no_file(errno);
  return file;
}

}  // namespace vmm
