// SPDX-License-Identifier: Apache-2.0
#include "vmm/kvm/kvm.h"

#include <sys/stat.h>
#include <unistd.h>

#include "vmm/core/testing/catch.h"
#include "vmm/kvm/exit_names.h"

using namespace vmm;
using namespace vmm::kvm;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("Kvm: a missing device is named, with what may help", "[kvm]") {
  Result<Kvm> kvm = Kvm::open("/nonexistent/kvm");
  REQUIRE_FALSE(kvm);
  CHECK(kvm.error().kind() == ErrorKind::kNotFound);
  CHECK(contains(kvm.error().message(), "/nonexistent/kvm: No such file or directory"));
  CHECK(contains(kvm.error().message(), "modprobe"));
}

TEST_CASE("Kvm: a device that is not KVM is refused", "[kvm]") {
  Result<Kvm> kvm = Kvm::open("/dev/null");
  REQUIRE_FALSE(kvm);
  CHECK(contains(kvm.error().message(), "/dev/null: is not a KVM device"));
}

TEST_CASE("Kvm: a forbidden device names the group that may use it", "[kvm]") {
  char path[] = "/tmp/vmm-kvm-test-XXXXXX";
  int fd = ::mkstemp(path);
  REQUIRE(fd >= 0);
  REQUIRE(::fchmod(fd, 0660) == 0);
  Error grouped = explain_open_failure(path, EACCES);
  CHECK(grouped.kind() == ErrorKind::kPermission);
  CHECK(contains(grouped.message(), "Permission denied; add yourself to the group '"));

  REQUIRE(::fchmod(fd, 0600) == 0);
  Error closed = explain_open_failure(path, EACCES);
  CHECK(contains(closed.message(), "lets no group in"));
  ::close(fd);
  ::unlink(path);
}

TEST_CASE("exit_name: exits without a name keep their number", "[kvm]") {
  CHECK(exit_name(KVM_EXIT_HLT) == "KVM_EXIT_HLT");
  CHECK(exit_name(9999) == "KVM exit reason 9999");
  CHECK(contains(internal_error_name(KVM_INTERNAL_ERROR_EMULATION), "emulate"));
}
