// SPDX-License-Identifier: Apache-2.0
// The sandbox: what a process that runs a hostile guest on a hostile image gives up.
//
// Three moments, in this order:
//   1. enter(): on the main thread, before there is any other: no new privileges, the capability
//      bounding set, and with --jail the namespaces.
//   2. close_doors(): on the main thread, when every file is open, while the I/O threads idle and
//      no vCPU runs: the new root directory, user and group.
//   3. confine_thread(): on every thread, before it serves the guest, the main thread included:
//      capabilities, Landlock, and the system call filter of its kind.
// A forbidden system call then ends the process with kExitForbiddenCall and one line on stderr that
// names the call and the kind of thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "vmm/core/result.h"
#include "vmm/sandbox/thread_kind.h"

namespace vmm::sandbox {

// As a shell reports a process that SIGSYS killed: 128 + 31.
inline constexpr int kExitForbiddenCall = 159;

struct SandboxConfig {
  bool enabled = true;  // --no-sandbox: nothing below happens
  bool jail = false;    // --jail: own mount, pid, network, ipc and uts namespaces
  std::string chroot;   // --chroot: the new root directory; with a jail and none, an empty tmpfs
  std::optional<uid_t> uid;  // --uid
  std::optional<gid_t> gid;  // --gid; the supplementary groups go with either
};

// Whether the combination makes sense and this user may have it. Errors name the flag.
Result<void> check(const SandboxConfig& config);

// With a jail this forks: the caller goes on in the child, and the parent hands on signals, waits
// and leaves with the child's status (128 + N where signal N ended it), never returning. If the
// parent dies, so does the child.
Result<void> enter(const SandboxConfig& config);

Result<void> close_doors(const SandboxConfig& config);

Result<void> confine_thread(const SandboxConfig& config, ThreadKind kind);

// Called on whichever thread made a forbidden call, before the process ends: restores the terminal.
// It must be async-signal-safe and make no calls that vmm/sandbox/policy.cc forbids.
void set_last_words(void (*last_words)());

// Sanitizers make system calls of their own: a build with one has no filters, and everything else.
bool has_filters();

}  // namespace vmm::sandbox
