// SPDX-License-Identifier: Apache-2.0
// Turns policy.cc into BPF programs, at build time: libseccomp's compiler takes longer than the
// start of a small VM, and this way the program neither links nor loads it.
//
//   make-filters > filters.inc
#include <fmt/core.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>

#include "vmm/sandbox/policy.h"

namespace vmm::sandbox {
namespace {

using Filter = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

// A mistake in the policy ends the build.
void need(int result, const char* what) {
  if (result >= 0) return;
  fmt::print(stderr, "make-filters: {}: error {}\n", what, -result);
  std::exit(1);
}

Filter compile(ThreadKind kind) {
  Filter filter(seccomp_init(SCMP_ACT_TRAP), seccomp_release);
  if (!filter) need(-1, "seccomp_init");
  // 32-bit calls have other numbers: nobody here makes any.
  need(seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "bad arch");
  for (const Rule& rule : policy_of(kind)) {
    int number = seccomp_syscall_resolve_name(rule.call);
    need(number, rule.call);
    std::uint32_t action =
        rule.error != 0 ? SCMP_ACT_ERRNO(static_cast<std::uint32_t>(rule.error)) : SCMP_ACT_ALLOW;
    need(seccomp_rule_add_exact_array(filter.get(), action, number,
                                      static_cast<unsigned>(rule.arguments.size()),
                                      rule.arguments.data()),
         rule.call);
  }
  // The calls of the fast paths are compared first.
  for (const char* call : {"ioctl", "io_uring_enter", "futex", "read", "write"}) {
    need(seccomp_syscall_priority(filter.get(), seccomp_syscall_resolve_name(call), 200), call);
  }
  return filter;
}

void print_filter(const char* name, ThreadKind kind) {
  Filter filter = compile(kind);
  int file = ::memfd_create("filter", 0);
  need(file, "memfd_create");
  need(seccomp_export_bpf(filter.get(), file), "seccomp_export_bpf");
  fmt::print("constexpr sock_filter {}[] = {{\n", name);
  sock_filter instruction;
  for (off_t at = 0; ::pread(file, &instruction, sizeof instruction, at) == sizeof instruction;
       at += static_cast<off_t>(sizeof instruction)) {
    fmt::print("    {{{:#06x}, {}, {}, {:#010x}}},\n", instruction.code, instruction.jt,
               instruction.jf, instruction.k);
  }
  fmt::print("}};\n");
  ::close(file);
}

void print_names() {
  constexpr int kNrCalls = 1024;
  int last = 0;
  std::string names;
  for (int number = 0; number < kNrCalls; ++number) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    names += fmt::format("    \"{}\",\n", name != nullptr ? name : "");
    if (name != nullptr) last = static_cast<int>(names.size());
    std::free(name);
  }
  fmt::print("constexpr const char* kCallNames[] = {{\n{}}};\n",
             names.substr(0, static_cast<std::size_t>(last)));
}

}  // namespace
}  // namespace vmm::sandbox

int main() {
  using namespace vmm::sandbox;
  print_filter("kMainFilter", ThreadKind::kMain);
  print_filter("kVcpuFilter", ThreadKind::kVcpu);
  print_filter("kIoRingFilter", ThreadKind::kIoRing);
  print_filter("kIoPoolFilter", ThreadKind::kIoPool);
  print_filter("kConsoleFilter", ThreadKind::kConsole);
  print_filter("kControlFilter", ThreadKind::kControl);
  print_filter("kSupervisorFilter", ThreadKind::kSupervisor);
  print_filter("kBootFinderFilter", ThreadKind::kBootFinder);
  print_filter("kVhostUserFilter", ThreadKind::kVhostUser);
  print_filter("kVhostFilter", ThreadKind::kVhost);
  print_filter("kVsockFilter", ThreadKind::kVsock);
  print_names();
}
