// SPDX-License-Identifier: Apache-2.0
// Bits: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; KVM's leaf: Linux,
// Documentation/virt/kvm/x86/cpuid.rst. Names: /proc/cpuinfo.
#include "arch/x86/cpu_flags.h"

#include <fmt/core.h>

#include <algorithm>

namespace vmm::x86 {
namespace {

enum class Register { kEax, kEbx, kEcx, kEdx };

struct Leaf {
  std::uint32_t function, index;
  Register reg;
};

struct CpuFlag {
  std::string_view name;
  Leaf leaf;
  std::uint32_t mask;
};

constexpr std::uint32_t bit(unsigned number) {
  return std::uint32_t{1} << number;
}

constexpr Leaf k1Ecx = {0x1, 0, Register::kEcx}, k1Edx = {0x1, 0, Register::kEdx};
constexpr Leaf k7Ebx = {0x7, 0, Register::kEbx}, k7Ecx = {0x7, 0, Register::kEcx};
constexpr Leaf k7Edx = {0x7, 0, Register::kEdx}, k71Eax = {0x7, 1, Register::kEax};
constexpr Leaf kXsave = {0xd, 1, Register::kEax}, kArat = {0x6, 0, Register::kEax};
constexpr Leaf kKvm = {0x40000001, 0, Register::kEax};
constexpr Leaf kExtEcx = {0x80000001, 0, Register::kEcx}, kExtEdx = {0x80000001, 0, Register::kEdx};
constexpr Leaf kPower = {0x80000007, 0, Register::kEdx}, kExt8 = {0x80000008, 0, Register::kEbx};

constexpr CpuFlag kFlags[] = {
    {"pni", k1Ecx, bit(0)},
    {"pclmulqdq", k1Ecx, bit(1)},
    {"ssse3", k1Ecx, bit(9)},
    {"fma", k1Ecx, bit(12)},
    {"cx16", k1Ecx, bit(13)},
    {"pcid", k1Ecx, bit(17)},
    {"sse4_1", k1Ecx, bit(19)},
    {"sse4_2", k1Ecx, bit(20)},
    {"x2apic", k1Ecx, bit(21)},
    {"movbe", k1Ecx, bit(22)},
    {"popcnt", k1Ecx, bit(23)},
    {"tsc_deadline_timer", k1Ecx, bit(24)},
    {"aes", k1Ecx, bit(25)},
    {"xsave", k1Ecx, bit(26)},
    {"avx", k1Ecx, bit(28)},
    {"f16c", k1Ecx, bit(29)},
    {"rdrand", k1Ecx, bit(30)},
    {"hypervisor", k1Ecx, bit(31)},
    {"mce", k1Edx, bit(7)},
    {"sep", k1Edx, bit(11)},
    {"mtrr", k1Edx, bit(12)},
    {"mca", k1Edx, bit(14)},
    {"pat", k1Edx, bit(16)},
    {"pse36", k1Edx, bit(17)},
    {"clflush", k1Edx, bit(19)},
    {"mmx", k1Edx, bit(23)},
    {"arat", kArat, bit(2)},
    {"fsgsbase", k7Ebx, bit(0)},
    {"tsc_adjust", k7Ebx, bit(1)},
    {"bmi1", k7Ebx, bit(3)},
    {"hle", k7Ebx, bit(4)},
    {"avx2", k7Ebx, bit(5)},
    {"smep", k7Ebx, bit(7)},
    {"bmi2", k7Ebx, bit(8)},
    {"erms", k7Ebx, bit(9)},
    {"invpcid", k7Ebx, bit(10)},
    {"rtm", k7Ebx, bit(11)},
    {"avx512f", k7Ebx, bit(16)},
    {"avx512dq", k7Ebx, bit(17)},
    {"rdseed", k7Ebx, bit(18)},
    {"adx", k7Ebx, bit(19)},
    {"smap", k7Ebx, bit(20)},
    {"avx512ifma", k7Ebx, bit(21)},
    {"clflushopt", k7Ebx, bit(23)},
    {"clwb", k7Ebx, bit(24)},
    {"avx512cd", k7Ebx, bit(28)},
    {"sha_ni", k7Ebx, bit(29)},
    {"avx512bw", k7Ebx, bit(30)},
    {"avx512vl", k7Ebx, bit(31)},
    {"avx512vbmi", k7Ecx, bit(1)},
    {"umip", k7Ecx, bit(2)},
    {"pku", k7Ecx, bit(3)},
    {"waitpkg", k7Ecx, bit(5)},
    {"avx512_vbmi2", k7Ecx, bit(6)},
    {"gfni", k7Ecx, bit(8)},
    {"vaes", k7Ecx, bit(9)},
    {"vpclmulqdq", k7Ecx, bit(10)},
    {"avx512_vnni", k7Ecx, bit(11)},
    {"avx512_bitalg", k7Ecx, bit(12)},
    {"avx512_vpopcntdq", k7Ecx, bit(14)},
    {"la57", k7Ecx, bit(16)},
    {"rdpid", k7Ecx, bit(22)},
    {"bus_lock_detect", k7Ecx, bit(24)},
    {"cldemote", k7Ecx, bit(25)},
    {"movdiri", k7Ecx, bit(27)},
    {"movdir64b", k7Ecx, bit(28)},
    {"fsrm", k7Edx, bit(4)},
    {"avx512_vp2intersect", k7Edx, bit(8)},
    {"md_clear", k7Edx, bit(10)},
    {"serialize", k7Edx, bit(14)},
    {"tsxldtrk", k7Edx, bit(16)},
    {"amx_bf16", k7Edx, bit(22)},
    {"avx512_fp16", k7Edx, bit(23)},
    {"amx_tile", k7Edx, bit(24)},
    {"amx_int8", k7Edx, bit(25)},
    {"flush_l1d", k7Edx, bit(28)},
    {"arch_capabilities", k7Edx, bit(29)},
    {"avx_vnni", k71Eax, bit(4)},
    {"avx512_bf16", k71Eax, bit(5)},
    {"xsaveopt", kXsave, bit(0)},
    {"xsavec", kXsave, bit(1)},
    {"xgetbv1", kXsave, bit(2)},
    {"xsaves", kXsave, bit(3)},
    // The clock's two interfaces, and that it never goes backwards.
    {"kvmclock", kKvm, bit(0) | bit(3) | bit(24)},
    {"lahf_lm", kExtEcx, bit(0)},
    {"abm", kExtEcx, bit(5)},
    {"sse4a", kExtEcx, bit(6)},
    {"misalignsse", kExtEcx, bit(7)},
    {"3dnowprefetch", kExtEcx, bit(8)},
    {"osvw", kExtEcx, bit(9)},
    {"xop", kExtEcx, bit(11)},
    {"fma4", kExtEcx, bit(16)},
    {"tbm", kExtEcx, bit(21)},
    {"topoext", kExtEcx, bit(22)},
    {"perfctr_core", kExtEcx, bit(23)},
    {"nx", kExtEdx, bit(20)},
    {"mmxext", kExtEdx, bit(22)},
    {"fxsr_opt", kExtEdx, bit(25)},
    {"pdpe1gb", kExtEdx, bit(26)},
    {"rdtscp", kExtEdx, bit(27)},
    {"nonstop_tsc", kPower, bit(8)},
    {"clzero", kExt8, bit(0)},
    {"wbnoinvd", kExt8, bit(9)},
};

// Linux, arch/x86/include/asm/required-features.h, and what entering 64-bit mode takes.
constexpr std::string_view kNeeded[] = {"fpu", "pse",  "tsc",  "msr", "pae",  "cx8",     "apic",
                                        "pge", "cmov", "fxsr", "sse", "sse2", "syscall", "lm"};

const CpuFlag* find(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFlags), std::end(kFlags),
                                   [&](const CpuFlag& flag) { return flag.name == name; });
  return found == std::end(kFlags) ? nullptr : found;
}

std::uint32_t& register_of(kvm_cpuid_entry2& entry, Register reg) {
  switch (reg) {
    case Register::kEax:
      return entry.eax;
    case Register::kEbx:
      return entry.ebx;
    case Register::kEcx:
      return entry.ecx;
    case Register::kEdx:
      break;
  }
  return entry.edx;
}

}  // namespace

Result<void> check_cpu_flag(std::string_view name) {
  if (find(name) != nullptr) return {};
  if (std::find(std::begin(kNeeded), std::end(kNeeded), name) != std::end(kNeeded)) {
    return fail(ErrorKind::kInvalid, fmt::format("no 64-bit kernel starts without '{}'", name));
  }
  return fail(ErrorKind::kNotFound,
              fmt::format("there is no feature '{}': names are those of /proc/cpuinfo", name));
}

void hide_cpu_flags(std::span<const std::string> names, std::span<kvm_cpuid_entry2> entries) {
  for (const std::string& name : names) {
    const CpuFlag* flag = find(name);
    if (flag == nullptr) continue;
    for (kvm_cpuid_entry2& entry : entries) {
      if (entry.function != flag->leaf.function || entry.index != flag->leaf.index) continue;
      register_of(entry, flag->leaf.reg) &= ~flag->mask;
    }
  }
}

}  // namespace vmm::x86
