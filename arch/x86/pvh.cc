// SPDX-License-Identifier: Apache-2.0
// hvm_start_info: Xen's public header arch-x86/hvm/start_info.h, version 1.
#include <cassert>
#include <cstdint>

#include "arch/x86/boot_params.h"
#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"

namespace vmm::x86 {
namespace {

struct StartInfo {
  Le32 magic;
  Le32 version;
  Le32 flags;
  Le32 nr_modules;
  Le64 modules;  // guest-physical
  Le64 command_line;
  Le64 rsdp;
  Le64 memory_map;
  Le32 memory_map_entries;
  Le32 reserved;
};
struct Module {
  Le64 start;
  Le64 size;
  Le64 command_line;
  Le64 reserved;
};
struct MapEntry {
  Le64 start;
  Le64 size;
  Le32 type;
  Le32 reserved;
};
static_assert(sizeof(StartInfo) == 56 && sizeof(Module) == 32 && sizeof(MapEntry) == 24);

constexpr std::uint32_t kMagic = 0x336ec578;
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kModules = layout::kPvhStartInfo + sizeof(StartInfo);
constexpr std::uint64_t kMap = kModules + sizeof(Module);
constexpr std::size_t kMaxMapEntries = (layout::kPvhStartInfo + 4096 - kMap) / sizeof(MapEntry);

}  // namespace

Result<void> write_pvh_start_info(const GuestMemory& memory, const BootInfo& info) {
  StartInfo start{};
  start.magic = kMagic;
  start.version = kVersion;
  start.command_line = layout::kCommandLine;
  start.rsdp = info.rsdp;
  if (info.initrd.size > 0) {
    start.nr_modules = 1;
    start.modules = kModules;
    Module module{};
    module.start = info.initrd.start;
    module.size = info.initrd.size;
    VMM_CHECK(memory.write_object(GuestAddress(kModules), module));
  }

  assert(info.memory_map.size() <= kMaxMapEntries);
  start.memory_map = kMap;
  start.memory_map_entries = static_cast<std::uint32_t>(info.memory_map.size());
  GuestAddress at(kMap);
  for (const MemoryMapEntry& entry : info.memory_map) {
    MapEntry raw{};
    raw.start = entry.start;
    raw.size = entry.size;
    raw.type = static_cast<std::uint32_t>(entry.type);
    VMM_CHECK(memory.write_object(at, raw));
    at = at + sizeof raw;
  }
  return memory.write_object(GuestAddress(layout::kPvhStartInfo), start);
}

}  // namespace vmm::x86
