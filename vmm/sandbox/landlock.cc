// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/landlock.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "vmm/core/unique_fd.h"

namespace vmm::sandbox {
namespace {

// Laid out here because distributions' headers are older than the kernels they meet
// (Documentation/userspace-api/landlock.rst). The kernel takes a longer struct than it knows as
// long as the rest is zero.
struct RulesetAttributes {
  std::uint64_t handled_access_fs = 0;
  std::uint64_t handled_access_net = 0;  // ABI 4
  std::uint64_t scoped = 0;              // ABI 6
};
constexpr std::uint32_t kCreateRulesetVersion = 1;

// The rights that each ABI version knows: all of them are handled, and no rule grants any.
std::uint64_t filesystem_rights(int version) {
  int nr_rights = 13;                // ABI 1: execute ... make_sym
  if (version >= 2) nr_rights = 14;  // refer
  if (version >= 3) nr_rights = 15;  // truncate (by path; ftruncate stays with the descriptor)
  // ABI 5's right, ioctl_dev, holds for devices opened from now on, and there are none.
  return (std::uint64_t{1} << nr_rights) - 1;
}

}  // namespace

int landlock_version() {
  long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kCreateRulesetVersion);
  return version < 0 ? 0 : static_cast<int>(version);
}

Result<void> landlock_everything() {
  static const int version = landlock_version();
  if (version == 0) return {};
  RulesetAttributes attributes;
  attributes.handled_access_fs = filesystem_rights(version);
  if (version >= 4) attributes.handled_access_net = 0x3;  // bind and connect TCP
  if (version >= 6) attributes.scoped = 0x1;              // abstract Unix sockets
  UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!ruleset) return fail_errno(errno, "sandbox: landlock_create_ruleset");
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return fail_errno(errno, "sandbox: landlock_restrict_self");
  }
  return {};
}

}  // namespace vmm::sandbox
