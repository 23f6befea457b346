// SPDX-License-Identifier: Apache-2.0
#include "vmm/sandbox/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <span>
#include <vector>

#include "vmm/sandbox/own_pid.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm::sandbox {
namespace {

#include "vmm/sandbox/filters.inc"

std::span<const sock_filter> filter_of(ThreadKind kind) {
  switch (kind) {
    case ThreadKind::kMain:
      return kMainFilter;
    case ThreadKind::kVcpu:
      return kVcpuFilter;
    case ThreadKind::kIoRing:
      return kIoRingFilter;
    case ThreadKind::kIoPool:
      return kIoPoolFilter;
    case ThreadKind::kVhostUser:
      return kVhostUserFilter;
    case ThreadKind::kVhost:
      return kVhostFilter;
    case ThreadKind::kVsock:
      return kVsockFilter;
    case ThreadKind::kConsole:
      return kConsoleFilter;
    case ThreadKind::kControl:
      return kControlFilter;
    case ThreadKind::kBootFinder:
      return kBootFinderFilter;
    case ThreadKind::kSupervisor:
      break;
  }
  return kSupervisorFilter;
}

}  // namespace

const char* thread_kind_name(ThreadKind kind) {
  switch (kind) {
    case ThreadKind::kMain:
      return "the main thread";
    case ThreadKind::kVcpu:
      return "a vCPU thread";
    case ThreadKind::kIoRing:
    case ThreadKind::kIoPool:
      return "an I/O thread";
    case ThreadKind::kVhostUser:
      return "a vhost-user thread";
    case ThreadKind::kVhost:
      return "the vhost thread";
    case ThreadKind::kVsock:
      return "the vsock thread";
    case ThreadKind::kConsole:
      return "the console's thread";
    case ThreadKind::kControl:
      return "the control thread";
    case ThreadKind::kBootFinder:
      return "the search for a kernel";
    case ThreadKind::kSupervisor:
      break;
  }
  return "the jail's supervisor";
}

const char* call_name(int number) {
  if (number < 0 || static_cast<std::size_t>(number) >= std::size(kCallNames)) return "?";
  const char* name = kCallNames[number];
  return name[0] != '\0' ? name : "?";
}

Result<void> install_filter(ThreadKind kind) {
  std::span<const sock_filter> generated = filter_of(kind);
  std::vector<sock_filter> program(generated.begin(), generated.end());
  const std::uint32_t own_pid = static_cast<std::uint32_t>(::getpid());
  for (sock_filter& instruction : program) {
    if (instruction.k == kOwnPidPlaceholder) instruction.k = own_pid;
  }
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  // SPEC_ALLOW: older kernels otherwise slow the thread down against speculative stores, which is
  // for processes that run foreign code inside their own address space; a guest has its own.
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) !=
      0) {
    return fail_errno(errno,
                      "sandbox: the kernel refuses the system call filter (seccomp); "
                      "--no-sandbox runs without any protection of the host");
  }
  return {};
}

bool has_filters() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
  return false;
#else
  return true;
#endif
#else
  return true;
#endif
}

}  // namespace vmm::sandbox
