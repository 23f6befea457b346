// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/device_tree.h"

#include <libfdt.h>

#include <cstring>

#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::x86;

namespace {

std::vector<std::byte> example(const DeviceTreeConfig& config) {
  Result<std::vector<std::byte>> tree = make_device_tree(config);
  REQUIRE(tree);
  REQUIRE(fdt_check_full(tree->data(), tree->size()) == 0);
  return *tree;
}

std::vector<std::uint32_t> cells(const std::vector<std::byte>& tree, const char* path,
                                 const char* name) {
  int node = fdt_path_offset(tree.data(), path);
  INFO(path);
  REQUIRE(node >= 0);
  int length = 0;
  const void* property = fdt_getprop(tree.data(), node, name, &length);
  REQUIRE(property != nullptr);
  std::vector<std::uint32_t> values;
  for (int i = 0; i < length / 4; ++i) {
    values.push_back(fdt32_ld(static_cast<const fdt32_t*>(property) + i));
  }
  return values;
}

using Cells = std::vector<std::uint32_t>;

TEST_CASE("device tree: virtio-mmio devices are nodes with registers and an edge", "[fdt]") {
  const VirtioMmio places[] = {{layout::kVirtioMmio, 5}, {layout::kVirtioMmio + 0x1000, 16}};
  DeviceTreeConfig config;
  config.virtio_mmio = places;
  std::vector<std::byte> tree = example(config);
  CHECK(cells(tree, "/soc/virtio_mmio@feb00000", "reg") == Cells{0, 0xfeb00000, 0, 0x1000});
  CHECK(cells(tree, "/soc/virtio_mmio@feb01000", "interrupts") == Cells{16, 0});
  int node = fdt_path_offset(tree.data(), "/soc/virtio_mmio@feb01000");
  CHECK(fdt_node_check_compatible(tree.data(), node, "virtio,mmio") == 0);
  Cells parent = cells(tree, "/", "interrupt-parent");
  CHECK(fdt_node_offset_by_phandle(tree.data(), parent.at(0)) ==
        fdt_path_offset(tree.data(), "/soc/interrupt-controller@fec00000"));
}

TEST_CASE("device tree: it has the processors and the memory", "[fdt]") {
  const std::uint64_t gib = 1 << 30;
  const MemoryMapEntry map[] = {{0, 0x9fc00, MemoryType::kRam},
                                {0x9fc00, 0x60400, MemoryType::kReserved},
                                {4 * gib, 5 * gib, MemoryType::kRam}};
  DeviceTreeConfig config;
  config.nr_cpus = 12;
  config.memory_map = map;
  std::vector<std::byte> tree = example(config);
  CHECK(cells(tree, "/cpus/cpu@b", "reg") == Cells{11});
  CHECK(fdt_path_offset(tree.data(), "/cpus/cpu@c") < 0);
  CHECK(cells(tree, "/memory@100000000", "reg") == Cells{1, 0, 1, 0x40000000});
  CHECK(fdt_path_offset(tree.data(), "/memory@9fc00") < 0);
}

TEST_CASE("device tree: one that does not fit its place is an error", "[fdt]") {
  GuestMemory memory = *GuestMemory::create(ram_ranges(2 << 20));
  DeviceTreeConfig config;
  config.nr_cpus = 2000;
  CHECK_FALSE(write_device_tree(memory, example(config)));
  config.nr_cpus = 12000;
  CHECK_FALSE(make_device_tree(config));
}

TEST_CASE("device tree: boot_params find it as setup_data of its type", "[fdt]") {
  GuestMemory memory = *GuestMemory::create(ram_ranges(2 << 20));
  std::vector<std::byte> tree = example({});
  Result<std::uint64_t> at = write_device_tree(memory, tree);
  REQUIRE(at);
  auto written = *memory.slice(GuestAddress(*at), 16 + tree.size());
  CHECK(load_le<std::uint64_t>(&written[0]) == 0);  // no next
  CHECK(load_le<std::uint32_t>(&written[8]) == 2);  // SETUP_DTB
  CHECK(load_le<std::uint32_t>(&written[12]) == tree.size());
  CHECK(std::memcmp(&written[16], tree.data(), tree.size()) == 0);
}

}  // namespace
