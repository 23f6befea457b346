// SPDX-License-Identifier: Apache-2.0
#include "vmm/host_cpu.h"

#include <fmt/core.h>
#include <sched.h>

#include <cerrno>
#include <memory>

namespace vmm {
namespace {

constexpr std::size_t kSetSize = CPU_ALLOC_SIZE(kMaxHostCpus);

struct FreeSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, FreeSet>;

CpuSet empty_set() {
  CpuSet set(CPU_ALLOC(kMaxHostCpus));
  if (set) CPU_ZERO_S(kSetSize, set.get());
  return set;
}

}  // namespace

bool may_run_on(unsigned cpu) {
  const CpuSet set = empty_set();
  if (!set || cpu >= kMaxHostCpus) return false;
  if (::sched_getaffinity(0, kSetSize, set.get()) != 0) return false;
  return CPU_ISSET_S(cpu, kSetSize, set.get());
}

Result<void> pin_to(unsigned cpu) {
  const CpuSet set = empty_set();
  if (!set || cpu >= kMaxHostCpus) return fail(ErrorKind::kInvalid, "--pin: no such processor");
  CPU_SET_S(cpu, kSetSize, set.get());
  if (::sched_setaffinity(0, kSetSize, set.get()) == 0) return {};
  return fail_errno(errno, fmt::format("--pin: run on processor {} of the host", cpu));
}

}  // namespace vmm
