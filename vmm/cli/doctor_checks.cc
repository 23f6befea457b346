// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/doctor_checks.h"

#include <fmt/core.h>
#include <liburing.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

namespace vmm::cli {
namespace {

// Slower than any processor that runs guests itself, even an emulated one; faster than any
// interpreter in the kernel (about 2 million).
constexpr double kLeastInstructionsPerSecond = 50e6;

// What the I/O threads may come to lock: rings, and buffers where those are registered.
constexpr std::uint64_t kGoodMemoryLock = 64 << 20;  // bytes

struct Capability {
  int number;
  const char* name;
};
constexpr Capability kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

Check check_capabilities(const kvm::Kvm& kvm) {
  Check check{.name = "capabilities"};
  std::string missing;
  for (const Capability& capability : kNeeded) {
    if (kvm.check_extension(capability.number) == 0) missing += std::string(" ") + capability.name;
  }
  if (!missing.empty()) {
    check.status = Check::Status::kFailed;
    check.detail = "KVM lacks" + missing;
    check.advice = "use a newer kernel (Linux 4.13 has all of them)";
    return check;
  }
  check.detail = fmt::format("all {} that are needed, up to {} vCPUs", std::size(kNeeded),
                             kvm.check_extension(KVM_CAP_MAX_VCPUS));
  if (kvm.check_extension(KVM_CAP_TSC_DEADLINE_TIMER) == 0) {
    check.status = Check::Status::kWarning;
    check.detail += "; no TSC deadline timer";
    check.advice = "guests may need a kernel that calibrates its local APIC timer";
  }
  return check;
}

Check check_io_uring() {
  Check check{.name = "io_uring", .detail = "allowed"};
  io_uring ring;
  int result = ::io_uring_queue_init(4, &ring, 0);
  if (result == 0) {
    ::io_uring_queue_exit(&ring);
    return check;
  }
  check.status = Check::Status::kWarning;
  check.detail = fmt::format("cannot be used ({}): disks run on a thread pool, which is slower",
                             ::strerrordesc_np(-result));
  check.advice = "see the sysctl kernel.io_uring_disabled, or the container's seccomp profile";
  return check;
}

Check check_device(const char* path, const Result<kvm::Kvm>& kvm) {
  Check check{.name = "kvm"};
  if (kvm) {
    check.detail = fmt::format("{} can be used, API version {}", path, KVM_API_VERSION);
    return check;
  }
  check.status = Check::Status::kFailed;
  // The message is "what; what to do" where there is something to do.
  std::string message = kvm.error().message();
  std::size_t semicolon = message.find("; ");
  check.detail = message.substr(0, semicolon);
  if (semicolon != std::string::npos) check.advice = message.substr(semicolon + 2);
  return check;
}

Check check_guest(const kvm::Kvm& kvm, DoctorReport& report) {
  Result<ProbeResult> probe = run_probe_guest(kvm);
  if (probe) {
    report.instructions_per_second = probe->instructions_per_second;
    return judge_probe(*probe);
  }
  return {.name = "guest",
          .status = Check::Status::kFailed,
          .detail = "a tiny guest could not be set up: " + probe.error().message()};
}

}  // namespace

const char* name_of(Check::Status status) {
  switch (status) {
    case Check::Status::kOk:
      return "ok";
    case Check::Status::kWarning:
      return "warning";
    case Check::Status::kFailed:
      break;
  }
  return "failed";
}

Check judge_probe(const ProbeResult& result) {
  Check check{.name = "guest"};
  std::string speed =
      fmt::format("{:.0f} million instructions/s", result.instructions_per_second / 1e6);
  std::string lacks;
  if (!result.cmpxchg16b) lacks = "cmpxchg16b";
  if (result.cmpxchg16b && result.has_xsave && !result.xrstor) lacks = "xrstor";

  bool slow = result.instructions_per_second < kLeastInstructionsPerSecond;
  if (result.instructions_per_second == 0) {
    check.detail = "a tiny guest did not run: " + result.failure;
  } else if (slow) {
    check.detail = fmt::format("this /dev/kvm only interprets guests: {}{}", speed,
                               lacks.empty() ? "" : ", and it cannot run " + lacks);
  } else if (!lacks.empty()) {
    check.detail = fmt::format("a tiny guest stopped at {}: {}", lacks, result.failure);
  } else if (!result.failure.empty()) {
    check.detail = "a tiny guest did not end as it should: " + result.failure;
  } else {
    check.detail = fmt::format("a tiny guest ran, {}", speed);
    return check;
  }
  check.status = Check::Status::kFailed;
  check.advice =
      "use a machine whose processor's virtualisation (VT-x, AMD-V) reaches this system; here, "
      "scripts/kvm-lab lends an emulated one";
  return check;
}

Check check_memory_lock(std::uint64_t limit_bytes, bool privileged) {
  Check check{.name = "memory-lock"};
  if (privileged || limit_bytes == RLIM_INFINITY) {
    check.detail = "no limit";
    return check;
  }
  check.detail = fmt::format("limit {} KiB", limit_bytes >> 10);
  if (limit_bytes < kGoodMemoryLock) {
    check.status = Check::Status::kWarning;
    check.advice =
        "raise it (ulimit -l, or LimitMEMLOCK= of a service) where kernels before 5.12 refuse "
        "io_uring, or to register buffers";
  }
  return check;
}

bool DoctorReport::can_run_guests() const {
  for (const Check& check : checks) {
    if (check.status == Check::Status::kFailed) return false;
  }
  return true;
}

std::string DoctorReport::summary() const {
  const Check* last = nullptr;
  for (const Check& check : checks) {
    if (check.status == Check::Status::kFailed) return check.detail;
    if (check.name == "guest") last = &check;
  }
  return last != nullptr ? last->detail : "";
}

DoctorReport examine(const char* kvm_path) {
  DoctorReport report;
  Result<kvm::Kvm> kvm = kvm::Kvm::open(kvm_path);
  report.checks.push_back(check_device(kvm_path, kvm));
  if (kvm) {
    report.checks.push_back(check_capabilities(*kvm));
    if (report.can_run_guests()) report.checks.push_back(check_guest(*kvm, report));
  }
  report.checks.push_back(check_io_uring());
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  report.checks.push_back(check_memory_lock(limit.rlim_cur, ::geteuid() == 0));
  return report;
}

}  // namespace vmm::cli
