// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/sandbox.h"

#include <unistd.h>

#include "vmm/core/log.h"
#include "vmm/sandbox/filter.h"
#include "vmm/sandbox/jail.h"
#include "vmm/sandbox/landlock.h"
#include "vmm/sandbox/privileges.h"
#include "vmm/sandbox/violation.h"

namespace vmm::sandbox {
namespace {

const char* first_root_flag(const SandboxConfig& config) {
  if (config.jail) return "--jail";
  if (!config.chroot.empty()) return "--chroot";
  if (config.uid) return "--uid";
  if (config.gid) return "--gid";
  return nullptr;
}

}  // namespace

Result<void> check(const SandboxConfig& config) {
  const char* flag = first_root_flag(config);
  if (flag == nullptr) return {};
  if (!config.enabled) {
    return fail(ErrorKind::kInvalid, std::string(flag) + " does not go with --no-sandbox");
  }
  if (::geteuid() != 0) {
    return fail(ErrorKind::kPermission,
                std::string(flag) + " needs root; without it the other parts of the sandbox hold");
  }
  return {};
}

Result<void> enter(const SandboxConfig& config) {
  if (!config.enabled) {
    log::warn("--no-sandbox: a guest that breaks out of the VM has all rights of this user");
    return {};
  }
  if (!has_filters()) log::info("sandbox: no system call filters in a build with sanitizers");
  VMM_CHECK(set_no_new_privileges());
  if (::geteuid() == 0) {
    VMM_CHECK(empty_bounding_set());
  }
  if (has_filters()) {
    VMM_CHECK(install_violation_handler());
  }
  if (config.jail) {
    VMM_CHECK(enter_namespaces());
  }
  return {};
}

Result<void> close_doors(const SandboxConfig& config) {
  if (!config.enabled) return {};
  if (config.jail) {
    VMM_CHECK(pivot_root_to(config.chroot));
  } else if (!config.chroot.empty()) {
    VMM_CHECK(change_root_to(config.chroot));
  }
  VMM_CHECK(change_user(config.uid, config.gid));
  if (config.jail) die_with_supervisor();
  return {};
}

Result<void> confine_thread(const SandboxConfig& config, ThreadKind kind) {
  if (!config.enabled) return {};
  VMM_CHECK(drop_capabilities());
  VMM_CHECK(landlock_everything());
  if (!has_filters()) return {};
  prepare_for_violations(kind);
  return install_filter(kind);
}

}  // namespace vmm::sandbox
