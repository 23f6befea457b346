// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/device_tree.h"

#include <asm/bootparam.h>
#include <fmt/core.h>
#include <libfdt.h>

#include <initializer_list>

#include "arch/x86/layout.h"

namespace vmm::x86 {
namespace {

constexpr std::size_t kBufferSize = 2 * layout::kDeviceTreeSize;
constexpr std::uint32_t kIoapicHandle = 1;
constexpr std::uint32_t kEdgeRising = 0;  // bindings/interrupt-controller/intel,ce4100-ioapic

// libfdt's sequential writing; the first error stays, and nothing happens after it.
class Writer {
 public:
  Writer() : bytes_(kBufferSize) {
    check(fdt_create(bytes_.data(), static_cast<int>(bytes_.size())));
    check(fdt_finish_reservemap(fdt()));
  }

  void begin(const std::string& name) {
    if (error_ == 0) check(fdt_begin_node(fdt(), name.c_str()));
  }
  void end() {
    if (error_ == 0) check(fdt_end_node(fdt()));
  }
  void text(const char* name, const std::string& value) {
    if (error_ == 0) check(fdt_property_string(fdt(), name, value.c_str()));
  }
  void flag(const char* name) {
    if (error_ == 0) check(fdt_property(fdt(), name, nullptr, 0));
  }
  void cells(const char* name, std::initializer_list<std::uint32_t> values) {
    std::vector<fdt32_t> raw;
    for (std::uint32_t value : values) raw.push_back(cpu_to_fdt32(value));
    if (error_ == 0) {
      check(fdt_property(fdt(), name, raw.data(), static_cast<int>(raw.size() * sizeof raw[0])));
    }
  }
  // Two cells for each, as the root says.
  void reg(std::uint64_t start, std::uint64_t size) {
    auto high = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
    auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
    cells("reg", {high(start), low(start), high(size), low(size)});
  }

  Result<std::vector<std::byte>> finish() && {
    if (error_ == 0) check(fdt_finish(fdt()));
    if (error_ != 0) {
      return fail(ErrorKind::kOutOfRange,
                  fmt::format("the device tree cannot be made: {}", fdt_strerror(error_)));
    }
    bytes_.resize(fdt_totalsize(bytes_.data()));
    return std::move(bytes_);
  }

 private:
  void* fdt() { return bytes_.data(); }
  void check(int status) {
    if (error_ == 0 && status < 0) error_ = status;
  }

  std::vector<std::byte> bytes_;
  int error_ = 0;
};

void add_cpus(Writer& tree, std::uint32_t nr_cpus) {
  tree.begin("cpus");
  tree.cells("#address-cells", {1});
  tree.cells("#size-cells", {0});
  for (std::uint32_t id = 0; id < nr_cpus; ++id) {
    tree.begin(fmt::format("cpu@{:x}", id));
    tree.text("device_type", "cpu");
    tree.cells("reg", {id});
    tree.end();
  }
  tree.end();
}

void add_memory(Writer& tree, std::span<const MemoryMapEntry> map) {
  for (const MemoryMapEntry& entry : map) {
    if (entry.type != MemoryType::kRam) continue;
    tree.begin(fmt::format("memory@{:x}", entry.start));
    tree.text("device_type", "memory");
    tree.reg(entry.start, entry.size);
    tree.end();
  }
}

// The names are those of the first processors that had them in a device tree.
void add_interrupt_controllers(Writer& tree) {
  tree.begin(fmt::format("interrupt-controller@{:x}", layout::kIoapic));
  tree.text("compatible", "intel,ce4100-ioapic");
  tree.reg(layout::kIoapic, 0x1000);
  tree.flag("interrupt-controller");
  tree.cells("#interrupt-cells", {2});
  tree.cells("phandle", {kIoapicHandle});
  tree.end();
  tree.begin(fmt::format("interrupt-controller@{:x}", layout::kLocalApic));
  tree.text("compatible", "intel,ce4100-lapic");
  tree.reg(layout::kLocalApic, 0x1000);
  tree.end();
}

}  // namespace

Result<std::vector<std::byte>> make_device_tree(const DeviceTreeConfig& config) {
  Writer tree;
  tree.begin("");
  tree.text("compatible", "vmm,virtual-machine");
  tree.text("model", "vmm");
  tree.cells("#address-cells", {2});
  tree.cells("#size-cells", {2});
  tree.cells("interrupt-parent", {kIoapicHandle});
  add_cpus(tree, config.nr_cpus);
  add_memory(tree, config.memory_map);
  tree.begin("soc");
  tree.text("compatible", "simple-bus");
  tree.cells("#address-cells", {2});
  tree.cells("#size-cells", {2});
  tree.flag("ranges");
  add_interrupt_controllers(tree);
  for (const VirtioMmio& place : config.virtio_mmio) {
    tree.begin(fmt::format("virtio_mmio@{:x}", place.address));
    tree.text("compatible", "virtio,mmio");
    tree.reg(place.address, layout::kVirtioMmioSize);
    tree.cells("interrupts", {place.gsi, kEdgeRising});
    tree.end();
  }
  tree.end();
  tree.end();
  return std::move(tree).finish();
}

Result<std::uint64_t> write_device_tree(const GuestMemory& memory,
                                        std::span<const std::byte> tree) {
  if (tree.size() > layout::kDeviceTreeSize - sizeof(setup_data)) {
    return fail(ErrorKind::kOutOfRange, "the device tree does not fit its place");
  }
  setup_data header{};
  header.type = SETUP_DTB;
  header.len = static_cast<std::uint32_t>(tree.size());
  VMM_CHECK(memory.write_object(GuestAddress(layout::kDeviceTree), header));
  VMM_CHECK(memory.write(GuestAddress(layout::kDeviceTree + sizeof header), tree));
  return layout::kDeviceTree;
}

}  // namespace vmm::x86
