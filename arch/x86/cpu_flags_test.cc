// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/cpu_flags.h"

#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm::x86 {
namespace {

kvm_cpuid_entry2 full_entry(std::uint32_t function, std::uint32_t index) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.eax = entry.ebx = entry.ecx = entry.edx = ~0u;
  return entry;
}

TEST_CASE("A hidden feature's bit is gone, and no other", "[cpu_flags]") {
  std::vector<kvm_cpuid_entry2> entries = {full_entry(1, 0), full_entry(7, 0), full_entry(7, 1)};
  hide_cpu_flags(std::vector<std::string>{"avx512f", "rdrand", "avx_vnni"}, entries);
  CHECK(entries[0].ecx == ~(1u << 30));
  CHECK(entries[0].edx == ~0u);
  CHECK(entries[1].ebx == ~(1u << 16));
  CHECK(entries[1].eax == ~0u);
  CHECK(entries[2].eax == ~(1u << 4));
  CHECK(entries[2].ebx == ~0u);
}

TEST_CASE("Hiding a feature that the host has not changes nothing", "[cpu_flags]") {
  std::vector<kvm_cpuid_entry2> entries(1);
  entries[0].function = 7;
  hide_cpu_flags(std::vector<std::string>{"avx2", "kvmclock"}, entries);
  CHECK(entries[0].ebx == 0);
}

TEST_CASE("Names of features are those of /proc/cpuinfo, less what a kernel needs", "[cpu_flags]") {
  CHECK(check_cpu_flag("sse4_2"));
  CHECK(check_cpu_flag("kvmclock"));
  const Result<void> unknown = check_cpu_flag("sse4.2");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().kind() == ErrorKind::kNotFound);
  const Result<void> needed = check_cpu_flag("pae");
  REQUIRE_FALSE(needed);
  CHECK(needed.error().kind() == ErrorKind::kInvalid);
}

}  // namespace
}  // namespace vmm::x86
