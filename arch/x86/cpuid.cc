// SPDX-License-Identifier: Apache-2.0
// Leaves: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
#include "arch/x86/cpuid.h"

#include <bit>

namespace vmm::x86 {
namespace {

constexpr std::uint32_t kVmx = 1u << 5;           // 1.ECX
constexpr std::uint32_t kX2Apic = 1u << 21;       // 1.ECX
constexpr std::uint32_t kTscDeadline = 1u << 24;  // 1.ECX
constexpr std::uint32_t kHypervisor = 1u << 31;   // 1.ECX
constexpr std::uint32_t kHtt = 1u << 28;          // 1.EDX: more than one logical processor
constexpr std::uint32_t kCmpLegacy = 1u << 1;     // 80000001.ECX (AMD): they are cores
constexpr std::uint32_t kSvm = 1u << 2;           // 80000001.ECX

// Bits of an APIC id that number the cores of the socket.
std::uint32_t core_id_bits(std::uint32_t nr_cpus) {
  return static_cast<std::uint32_t>(std::bit_width(nr_cpus - 1));
}

void set_bits(std::uint32_t& reg, unsigned low, unsigned width, std::uint32_t value) {
  std::uint32_t mask = ((1u << width) - 1) << low;
  reg = (reg & ~mask) | (value << low & mask);
}

// Leaves 0xb and 0x1f: a level per subleaf, the innermost first.
kvm_cpuid_entry2 topology_level(std::uint32_t function, std::uint32_t level,
                                const CpuidConfig& config) {
  constexpr std::uint32_t kThreads = 1, kCores = 2;
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = level;
  entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  entry.ecx = level;
  entry.edx = config.apic_id;
  if (level == 0) {
    entry.eax = 0;  // no APIC id bits for threads
    entry.ebx = 1;
    entry.ecx |= kThreads << 8;
  } else if (level == 1) {
    entry.eax = core_id_bits(config.nr_cpus);
    entry.ebx = config.nr_cpus;
    entry.ecx |= kCores << 8;
  }
  return entry;
}

// Whether leaf 0 names AMD, or Hygon which follows it ("Auth", "Hygo").
bool is_amd(std::span<const kvm_cpuid_entry2> entries) {
  for (const kvm_cpuid_entry2& entry : entries) {
    if (entry.function == 0) return entry.ebx == 0x68747541 || entry.ebx == 0x6f677948;
  }
  return false;
}

void patch(kvm_cpuid_entry2& entry, const CpuidConfig& config, bool amd) {
  std::uint32_t id_bits = core_id_bits(config.nr_cpus);
  bool several = config.nr_cpus > 1;
  switch (entry.function) {
    case 0x1:
      set_bits(entry.ebx, 24, 8, config.apic_id);
      set_bits(entry.ebx, 16, 8, 1u << id_bits);
      entry.ecx |= kHypervisor | kX2Apic;
      entry.ecx &= ~(kVmx | kTscDeadline);  // VMs in VMs are not offered
      if (config.tsc_deadline_timer) entry.ecx |= kTscDeadline;
      entry.edx = several ? entry.edx | kHtt : entry.edx & ~kHtt;
      break;
    case 0x4:  // caches (Intel): each core has its own, all share the last level
      if ((entry.eax & 0x1f) == 0) break;
      set_bits(entry.eax, 26, 6, (1u << id_bits) - 1);
      set_bits(entry.eax, 14, 12, (entry.eax >> 5 & 7) < 3 ? 0 : (1u << id_bits) - 1);
      break;
    case 0x80000001:
      entry.ecx &= ~kSvm;
      entry.ecx = several && amd ? entry.ecx | kCmpLegacy : entry.ecx & ~kCmpLegacy;
      break;
    case 0x80000008:  // AMD: number of cores less one, APIC id bits for them
      if (!amd) break;
      set_bits(entry.ecx, 0, 8, config.nr_cpus - 1);
      set_bits(entry.ecx, 12, 4, id_bits);
      break;
    case 0x8000001d:  // caches (AMD), as leaf 4
      if ((entry.eax & 0x1f) == 0) break;
      set_bits(entry.eax, 14, 12, (entry.eax >> 5 & 7) < 3 ? 0 : config.nr_cpus - 1);
      break;
    case 0x8000001e:  // AMD: APIC id; core id with one thread each; one node
      entry.eax = config.apic_id;
      entry.ebx = config.apic_id & 0xff;
      entry.ecx = 0;
      break;
    default:
      break;
  }
}

// Leaves that are made here, or that describe the host's topology.
bool replaced(std::uint32_t function) {
  return function == 0xb || function == 0x1f;
}

}  // namespace

std::vector<kvm_cpuid_entry2> guest_cpuid(std::span<const kvm_cpuid_entry2> supported,
                                          const CpuidConfig& config) {
  std::vector<kvm_cpuid_entry2> entries;
  entries.reserve(supported.size() + 6);
  const bool amd = is_amd(supported);
  std::uint32_t max_leaf = 0;
  for (const kvm_cpuid_entry2& entry : supported) {
    if (entry.function == 0) max_leaf = entry.eax;
    if (replaced(entry.function)) continue;
    entries.push_back(entry);
    patch(entries.back(), config, amd);
  }
  // The last level is the invalid one that ends the list.
  for (std::uint32_t function : {0xbu, 0x1fu}) {
    if (function > max_leaf) continue;
    for (std::uint32_t level = 0; level < 3; ++level) {
      entries.push_back(topology_level(function, level, config));
    }
  }
  return entries;
}

}  // namespace vmm::x86
