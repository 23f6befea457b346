// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/kvm.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstring>

namespace vmm::kvm {
namespace {

std::string group_name(gid_t gid) {
  // Only asked for on the way to an error message: a static buffer is good enough.
  const group* entry = ::getgrgid(gid);
  return entry != nullptr ? entry->gr_name : std::to_string(gid);
}

}  // namespace

Error explain_open_failure(const char* path, int err) {
  Error error = Error::from_errno(err, path);
  std::string advice;
  struct stat status {};
  switch (err) {
    case ENOENT:
      advice =
          "load the module (modprobe kvm_intel or kvm_amd) and see that virtualisation is enabled "
          "in the firmware";
      break;
    case ENXIO:
    case ENODEV:
      advice = "the kernel's KVM module is not loaded or finds no virtualisation hardware";
      break;
    case EACCES:
    case EPERM:
      if (::stat(path, &status) == 0 && (status.st_mode & S_IRGRP) && (status.st_mode & S_IWGRP)) {
        advice = fmt::format(
            "add yourself to the group '{0}' (sudo usermod -aG {0} $USER) and log "
            "in again, or run as root",
            group_name(status.st_gid));
      } else {
        advice = "its mode lets no group in: run as root";
      }
      break;
    default:
      return error;
  }
  return Error(error.kind(), fmt::format("{}; {}", error.message(), advice));
}

Result<Kvm> Kvm::open(const char* path) {
  UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
  if (!fd) return Unexpected(explain_open_failure(path, errno));
  int version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version < 0) {
    return fail(ErrorKind::kInvalid, fmt::format("{}: is not a KVM device", path));
  }
  if (version != KVM_API_VERSION) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("{}: KVM API version {}, need {}", path, version, KVM_API_VERSION));
  }
  return Kvm(std::move(fd));
}

int Kvm::check_extension(int capability) const {
  int value = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, capability);
  return value < 0 ? 0 : value;
}

Result<std::size_t> Kvm::vcpu_mmap_size() const {
  int size = ::ioctl(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < 0) return fail_errno(errno, "/dev/kvm: KVM_GET_VCPU_MMAP_SIZE");
  return static_cast<std::size_t>(size);
}

Result<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
  // KVM answers E2BIG while the array is too small; today's kernels list 30 to 60 entries.
  for (std::uint32_t capacity = 128; capacity <= 4096; capacity *= 2) {
    std::vector<std::byte> buffer(sizeof(kvm_cpuid2) + capacity * sizeof(kvm_cpuid_entry2));
    auto* cpuid = reinterpret_cast<kvm_cpuid2*>(buffer.data());
    cpuid->nent = capacity;
    if (::ioctl(fd_.get(), KVM_GET_SUPPORTED_CPUID, cpuid) == 0) {
      return std::vector<kvm_cpuid_entry2>(cpuid->entries, cpuid->entries + cpuid->nent);
    }
    if (errno != E2BIG) return fail_errno(errno, "/dev/kvm: KVM_GET_SUPPORTED_CPUID");
  }
  return fail(ErrorKind::kUnsupported, "/dev/kvm: KVM_GET_SUPPORTED_CPUID lists too many entries");
}

}  // namespace vmm::kvm
