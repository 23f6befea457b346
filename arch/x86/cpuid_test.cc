// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/cpuid.h"

#include "vmm/core/testing/catch.h"

using namespace vmm::x86;

namespace {

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t eax, std::uint32_t ebx,
                      std::uint32_t ecx, std::uint32_t edx) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

const kvm_cpuid_entry2* find(const std::vector<kvm_cpuid_entry2>& entries, std::uint32_t function,
                             std::uint32_t index = 0) {
  for (const kvm_cpuid_entry2& entry : entries) {
    if (entry.function == function && entry.index == index) return &entry;
  }
  return nullptr;
}

constexpr std::uint32_t kAmd = 0x68747541, kIntel = 0x756e6547;

std::vector<kvm_cpuid_entry2> supported(std::uint32_t vendor) {
  return {leaf(0, 0x1f, vendor, 0, 0),
          leaf(1, 0, 0x05100800, 1u << 5, 0),
          leaf(0xb, 1, 2, 0x100, 77),
          leaf(0x80000001, 0, 0, 1u << 2, 0),
          leaf(0x80000008, 0x3028, 0, 0x700f, 0),
          leaf(0x8000001e, 9, 9, 9, 0)};
}

}  // namespace

TEST_CASE("cpuid: every vCPU has its own APIC id in all the places", "[cpuid]") {
  auto entries = guest_cpuid(supported(kAmd), {.nr_cpus = 6, .apic_id = 5});
  CHECK(find(entries, 1)->ebx >> 24 == 5);
  CHECK((find(entries, 1)->ebx >> 8 & 0xff) == 8);  // CLFLUSH size is the host's
  CHECK(find(entries, 0x8000001e)->eax == 5);
  for (std::uint32_t function : {0xbu, 0x1fu}) {
    for (std::uint32_t level : {0u, 1u, 2u}) {
      REQUIRE(find(entries, function, level) != nullptr);
      CHECK(find(entries, function, level)->edx == 5);
    }
    CHECK(find(entries, function, 1)->ebx == 6);
    CHECK(find(entries, function, 1)->eax == 3);         // six ids take three bits
    CHECK((find(entries, function, 1)->ecx >> 8) == 2);  // the level of cores
    CHECK((find(entries, function, 2)->ecx >> 8) == 0);  // the end
  }
}

TEST_CASE("cpuid: one vCPU is no multi-processor", "[cpuid]") {
  auto entries = guest_cpuid(supported(kAmd), {.nr_cpus = 1});
  CHECK((find(entries, 1)->edx & 1u << 28) == 0);
  CHECK((find(entries, 1)->ebx >> 16 & 0xff) == 1);
  CHECK(find(entries, 0xb, 1)->eax == 0);
  CHECK((find(entries, 0x80000008)->ecx & 0xff) == 0);
}

TEST_CASE("cpuid: the guest knows of the hypervisor, and of no virtualisation of its own",
          "[cpuid]") {
  for (bool deadline : {false, true}) {
    auto entries = guest_cpuid(supported(kIntel), {.tsc_deadline_timer = deadline});
    CHECK((find(entries, 1)->ecx & 1u << 31) != 0);
    CHECK((find(entries, 1)->ecx & 1u << 21) != 0);
    CHECK((find(entries, 1)->ecx & 1u << 5) == 0);
    CHECK(((find(entries, 1)->ecx & 1u << 24) != 0) == deadline);
    CHECK((find(entries, 0x80000001)->ecx & 1u << 2) == 0);
  }
}

TEST_CASE("cpuid: AMD's core count is not put where Intel has reserved bits", "[cpuid]") {
  auto intel = guest_cpuid(supported(kIntel), {.nr_cpus = 4});
  CHECK(find(intel, 0x80000008)->ecx == 0x700f);
  auto amd = guest_cpuid(supported(kAmd), {.nr_cpus = 4});
  CHECK(find(amd, 0x80000008)->ecx == 0x2003);
}

TEST_CASE("cpuid: topology leaves beyond the processor's last leaf are not invented", "[cpuid]") {
  auto old = supported(kIntel);
  old[0].eax = 0xd;
  auto entries = guest_cpuid(old, {.nr_cpus = 2});
  CHECK(find(entries, 0xb, 1) != nullptr);
  CHECK(find(entries, 0x1f, 1) == nullptr);
}
