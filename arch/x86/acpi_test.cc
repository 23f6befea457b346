// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/acpi.h"

#include <fcntl.h>

#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>

#include "arch/x86/layout.h"
#include "arch/x86/memory_map.h"
#include "arch/x86/testing/temp_file.h"
#include "vmm/core/byte_order.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::x86;

namespace {

AcpiConfig example(std::uint32_t nr_cpus) {
  AcpiConfig config;
  config.nr_cpus = nr_cpus;
  config.pm = {.pm1_event = 0x600,
               .pm1_control = 0x604,
               .timer = 0x608,
               .reset = 0x60c,
               .reset_value = 1,
               .sleep_type_power_off = 5};
  config.has_rtc = true;
  config.virtio_mmio = {{layout::kVirtioMmio, 5}, {layout::kVirtioMmio + 0x1000, 16}};
  return config;
}

GuestMemory some_memory() {
  return *GuestMemory::create(ram_ranges(2 << 20));
}

std::span<const std::byte> table_at(const GuestMemory& memory, std::uint64_t address) {
  auto header = *memory.slice(GuestAddress(address), 36);
  return *memory.slice(GuestAddress(address), load_le<std::uint32_t>(&header[4]));
}

std::uint8_t sum(std::span<const std::byte> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::uint8_t{0}, [](auto total, auto byte) {
    return static_cast<std::uint8_t>(total + std::to_integer<std::uint8_t>(byte));
  });
}

std::string signature(std::span<const std::byte> table) {
  return std::string(reinterpret_cast<const char*>(table.data()), 4);
}

// The tables that the XSDT lists, by signature.
std::map<std::string, std::span<const std::byte>> listed_tables(const GuestMemory& memory,
                                                                std::uint64_t rsdp) {
  auto root = *memory.slice(GuestAddress(rsdp), 36);
  auto xsdt = table_at(memory, load_le<std::uint64_t>(&root[24]));
  CHECK(sum(xsdt) == 0);
  std::map<std::string, std::span<const std::byte>> tables;
  for (std::size_t at = 36; at < xsdt.size(); at += 8) {
    auto table = table_at(memory, load_le<std::uint64_t>(&xsdt[at]));
    tables[signature(table)] = table;
  }
  return tables;
}

}  // namespace

TEST_CASE("acpi: from the RSDP on, every table is found and sums up to zero", "[acpi]") {
  GuestMemory memory = some_memory();
  std::uint64_t rsdp = *write_acpi_tables(memory, example(4));
  auto root = *memory.slice(GuestAddress(rsdp), 36);
  CHECK(std::memcmp(root.data(), "RSD PTR ", 8) == 0);
  CHECK(sum(root.first(20)) == 0);
  CHECK(sum(root) == 0);

  auto tables = listed_tables(memory, rsdp);
  CHECK(tables.size() == 3);
  for (const auto& [name, table] : tables) CHECK(sum(table) == 0);
  REQUIRE(tables.count("FACP") == 1);
  auto dsdt = table_at(memory, load_le<std::uint64_t>(&tables["FACP"][140]));
  CHECK(signature(dsdt) == "DSDT");
  CHECK(sum(dsdt) == 0);
  auto facs = *memory.slice(GuestAddress(load_le<std::uint32_t>(&tables["FACP"][36])), 64);
  CHECK(signature(facs) == "FACS");
  CHECK(load_le<std::uint32_t>(&tables["FACP"][36]) % 64 == 0);
}

TEST_CASE("acpi: the MADT has an enabled local APIC for every processor", "[acpi]") {
  GuestMemory memory = some_memory();
  std::uint64_t rsdp = *write_acpi_tables(memory, example(64));
  auto madt = listed_tables(memory, rsdp)["APIC"];
  std::uint32_t nr_apics = 0;
  std::uint32_t nr_ioapics = 0;
  for (std::size_t at = 44; at < madt.size(); at += std::to_integer<std::size_t>(madt[at + 1])) {
    if (madt[at] == std::byte{0}) {
      CHECK(std::to_integer<std::uint32_t>(madt[at + 3]) == nr_apics);
      CHECK(load_le<std::uint32_t>(&madt[at + 4]) == 1);
      ++nr_apics;
    }
    if (madt[at] == std::byte{1}) ++nr_ioapics;
  }
  CHECK(nr_apics == 64);
  CHECK(nr_ioapics == 1);
}

TEST_CASE("acpi: the FADT says where power off and reset are", "[acpi]") {
  GuestMemory memory = some_memory();
  std::uint64_t rsdp = *write_acpi_tables(memory, example(1));
  auto fadt = listed_tables(memory, rsdp)["FACP"];
  CHECK(load_le<std::uint32_t>(&fadt[56]) == 0x600);
  CHECK(load_le<std::uint32_t>(&fadt[64]) == 0x604);
  CHECK(load_le<std::uint32_t>(&fadt[76]) == 0x608);
  CHECK((load_le<std::uint32_t>(&fadt[112]) & 1 << 10) != 0);  // RESET_REG_SUP
  CHECK(load_le<std::uint64_t>(&fadt[120]) == 0x60c);
  CHECK(fadt[128] == std::byte{1});
}

// Hidden from the plain run: the compiler of acpica-tools judges our AML.
TEST_CASE("acpi: iasl disassembles the DSDT, and compiles that to the same bytes", "[.iasl]") {
  std::vector<std::uint8_t> dsdt = make_dsdt(example(1));
  testing::TempFile file(std::as_bytes(std::span(dsdt)));
  const std::string& path = file.path();
  auto run = [&](const std::string& command) {
    return std::system((command + " >>" + path + ".log 2>&1").c_str());
  };
  auto contents = [](const std::string& name) {
    std::ifstream stream(name);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  };
  REQUIRE(run("iasl -d " + path) == 0);
  std::string source = contents(path + ".dsl");
  for (const char* part :
       {"Device (PCI0)", "EisaId (\"PNP0A08\")", "Device (COM1)", "EisaId (\"PNP0501\")",
        "0x03F8, ", "0xC0000000,         // Range Minimum", "0xDFFFFFFF,         // Range Maximum",
        "0x20000000,         // Length", "_S5, Package (0x04)", "Device (VR00)", "Device (VR01)",
        "\"LNRO0005\"", "0xFEB01000,         // Address Base",
        "0x00001000,         // Address Length",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive", "0x00000010,"}) {
    INFO(part);
    CHECK(source.find(part) != std::string::npos);
  }
  REQUIRE(run("iasl -oa -p " + path + "-again " + path + ".dsl") == 0);
  std::string again = contents(path + "-again.aml");
  REQUIRE(again.size() == dsdt.size());
  CHECK(std::memcmp(&again[36], &dsdt[36], dsdt.size() - 36) == 0);  // the header names iasl
  for (const char* suffix : {".dsl", ".log", "-again.aml"}) ::unlink((path + suffix).c_str());
}
