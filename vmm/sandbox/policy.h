// SPDX-License-Identifier: Apache-2.0
// Which system calls each kind of thread may make. Only the generator of the filters
// (make_filters.cc) uses this: at run time there is nothing but finished BPF programs.
#pragma once

#include <seccomp.h>

#include <string>
#include <vector>

#include "vmm/sandbox/thread_kind.h"

namespace vmm::sandbox {

struct Rule {
  const char* call;
  // All must hold; empty: any arguments. Several rules for one call: one of them must hold.
  std::vector<scmp_arg_cmp> arguments = {};
  int error = 0;  // an errno: the call is not made and fails with this instead
};

std::vector<Rule> policy_of(ThreadKind kind);

}  // namespace vmm::sandbox
