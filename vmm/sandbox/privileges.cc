// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/privileges.h"

#include <fmt/core.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace vmm::sandbox {

Result<void> set_no_new_privileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return fail_errno(errno, "sandbox: PR_SET_NO_NEW_PRIVS");
  }
  return {};
}

Result<void> empty_bounding_set() {
  for (unsigned long capability = 0;; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL) return {};  // the kernel has no more capabilities than these
    if (errno == EPERM) return {};   // no CAP_SETPCAP
    return fail_errno(errno, fmt::format("sandbox: PR_CAPBSET_DROP of {}", capability));
  }
}

Result<void> drop_capabilities(std::uint64_t keep) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (keep != 0) {
    for (unsigned i = 0; i < 2; ++i) {
      data[i].effective = data[i].permitted = static_cast<std::uint32_t>(keep >> (32 * i));
    }
  }
  if (::syscall(SYS_capset, &header, data) != 0) return fail_errno(errno, "sandbox: capset");
  return {};
}

// glibc makes these calls on every thread.
Result<void> change_user(std::optional<uid_t> uid, std::optional<gid_t> gid) {
  if (!uid && !gid) return {};
  if (::setgroups(0, nullptr) != 0) return fail_errno(errno, "sandbox: setgroups");
  if (gid && ::setresgid(*gid, *gid, *gid) != 0) {
    return fail_errno(errno, fmt::format("--gid {}", *gid));
  }
  if (uid && ::setresuid(*uid, *uid, *uid) != 0) {
    return fail_errno(errno, fmt::format("--uid {}", *uid));
  }
  return {};
}

}  // namespace vmm::sandbox
