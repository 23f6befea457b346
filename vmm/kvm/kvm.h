// SPDX-License-Identifier: Apache-2.0
// Kvm: the open /dev/kvm. Says clearly why it cannot be used; asks /dev/kvm itself what it can do,
// never the CPU's flags (a nested or paravirtual /dev/kvm works without them).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/kvm/abi.h"

namespace vmm::kvm {

inline constexpr const char* kDevicePath = "/dev/kvm";

class Kvm {
 public:
  // Fails with kNotFound, kPermission (naming the group that would help) or kUnsupported (an API
  // version other than 12, the only one since Linux 2.6.22).
  static Result<Kvm> open(const char* path = kDevicePath);

  int fd() const { return fd_.get(); }
  // 0 where `capability` (a KVM_CAP_*) is absent, else what the KVM documentation says of it.
  int check_extension(int capability) const;
  // Bytes of the kvm_run mapping of each vCPU.
  Result<std::size_t> vcpu_mmap_size() const;
  // What KVM_GET_SUPPORTED_CPUID lists.
  Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;

 private:
  explicit Kvm(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

// Why `path` cannot be opened and what to do about it, for an errno of open().
Error explain_open_failure(const char* path, int err);

}  // namespace vmm::kvm
