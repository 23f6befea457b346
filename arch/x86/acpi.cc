// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/acpi.h"

#include <fmt/core.h>

#include <cassert>
#include <cstring>
#include <span>
#include <string_view>

#include "arch/x86/aml.h"
#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"

namespace vmm::x86 {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <std::size_t N>
struct Text {
  Text() = default;
  explicit Text(std::string_view text) { text.copy(bytes, N); }
  char bytes[N] = {};
};

// 5.2.6
struct TableHeader {
  Text<4> signature;
  Le32 length;
  std::uint8_t revision = 0;
  std::uint8_t checksum = 0;
  Text<6> oem_id = Text<6>("VMM   ");
  Text<8> oem_table_id = Text<8>("VMM     ");
  Le32 oem_revision = Le32(1);
  Text<4> creator_id = Text<4>("VMM ");
  Le32 creator_revision = Le32(1);
};
static_assert(sizeof(TableHeader) == 36);

// 5.2.3.2 Generic Address Structure
struct Gas {
  std::uint8_t space = 0;  // 1: system I/O
  std::uint8_t bit_width = 0;
  std::uint8_t bit_offset = 0;
  std::uint8_t access_size = 0;  // 1: byte, 2: word, 3: double word
  Le64 address;
};
Gas port_gas(std::uint16_t port, std::uint8_t bytes) {
  return {1, static_cast<std::uint8_t>(bytes * 8), 0,
          static_cast<std::uint8_t>(bytes == 4 ? 3 : bytes), Le64(port)};
}

// 5.2.5.3
struct Rsdp {
  Text<8> signature = Text<8>("RSD PTR ");
  std::uint8_t checksum = 0;  // of the first 20 bytes
  Text<6> oem_id = Text<6>("VMM   ");
  std::uint8_t revision = 2;
  Le32 rsdt;
  Le32 length;
  Le64 xsdt;
  std::uint8_t extended_checksum = 0;
  std::uint8_t reserved[3] = {};
};
static_assert(sizeof(Rsdp) == 36);

// 5.2.9
struct Fadt {
  TableHeader header;
  Le32 firmware_ctrl;
  Le32 dsdt;
  std::uint8_t reserved0 = 0;
  std::uint8_t preferred_pm_profile = 0;
  Le16 sci_int;
  Le32 smi_cmd;
  std::uint8_t acpi_enable = 0, acpi_disable = 0, s4bios_req = 0, pstate_cnt = 0;
  Le32 pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk;
  Le32 gpe0_blk, gpe1_blk;
  std::uint8_t pm1_evt_len = 0, pm1_cnt_len = 0, pm2_cnt_len = 0, pm_tmr_len = 0;
  std::uint8_t gpe0_blk_len = 0, gpe1_blk_len = 0, gpe1_base = 0, cst_cnt = 0;
  Le16 p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
  std::uint8_t duty_offset = 0, duty_width = 0, day_alrm = 0, mon_alrm = 0, century = 0;
  Le16 iapc_boot_arch;
  std::uint8_t reserved1 = 0;
  Le32 flags;
  Gas reset_reg;
  std::uint8_t reset_value = 0;
  Le16 arm_boot_arch;
  std::uint8_t minor_version = 0;
  Le64 x_firmware_ctrl, x_dsdt;
  Gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk, x_pm_tmr_blk;
  Gas x_gpe0_blk, x_gpe1_blk, sleep_control_reg, sleep_status_reg;
  Le64 hypervisor_id;
};
static_assert(sizeof(Fadt) == 276);

constexpr std::uint32_t kFadtWbinvd = 1 << 0;
constexpr std::uint32_t kFadtProcC1 = 1 << 2;
constexpr std::uint32_t kFadtNoSleepButton = 1 << 5;
constexpr std::uint32_t kFadtNoFixedRtcWake = 1 << 6;
constexpr std::uint32_t kFadtTimer32Bit = 1 << 8;
constexpr std::uint32_t kFadtResetRegister = 1 << 10;
constexpr std::uint16_t kBootArchLegacyDevices = 1 << 0;
constexpr std::uint16_t kBootArchNoVga = 1 << 2;
constexpr std::uint16_t kBootArchNoRtc = 1 << 5;

// 5.2.10: shared with the firmware of machines that have one.
struct Facs {
  Text<4> signature = Text<4>("FACS");
  Le32 length = Le32(64);
  Le32 hardware_signature, waking_vector, global_lock, flags;
  Le64 x_waking_vector;
  std::uint8_t version = 2;
  std::uint8_t reserved[31] = {};
};
static_assert(sizeof(Facs) == 64);

// 5.2.12
struct Madt {
  TableHeader header;
  Le32 local_apic;
  Le32 flags;  // bit 0, PCAT_COMPAT, is clear: nothing is wired to the 8259s
};
struct MadtLocalApic {
  std::uint8_t type = 0, length = 8;
  std::uint8_t uid = 0, apic_id = 0;
  Le32 flags = Le32(1);  // enabled
};
struct MadtIoapic {
  std::uint8_t type = 1, length = 12;
  std::uint8_t id = 0, reserved = 0;
  Le32 address, gsi_base;
};
struct MadtOverride {
  std::uint8_t type = 2, length = 10;
  std::uint8_t bus = 0, source = 0;
  Le32 gsi;
  Le16 flags = Le16(0x5);  // active high, edge
};
struct MadtLocalApicNmi {
  std::uint8_t type = 4, length = 6;
  std::uint8_t uid = 0xff;  // all processors
  Le16 flags;
  std::uint8_t lint = 1;
};
static_assert(sizeof(MadtLocalApic) == 8 && sizeof(MadtIoapic) == 12);
static_assert(sizeof(MadtOverride) == 10 && sizeof(MadtLocalApicNmi) == 6);

// PCI Firmware Specification 3.2, 4.1.2
struct Mcfg {
  TableHeader header;
  Le64 reserved;
  Le64 base;
  Le16 segment;
  std::uint8_t first_bus = 0, last_bus = 0;
  Le32 reserved2;
};
static_assert(sizeof(Mcfg) == 60);

void append_bytes(Bytes& to, const void* from, std::size_t size) {
  const auto* bytes = static_cast<const std::uint8_t*>(from);
  to.insert(to.end(), bytes, bytes + size);
}
template <class T>
Bytes bytes_of(const T& object) {
  Bytes bytes;
  append_bytes(bytes, &object, sizeof object);
  return bytes;
}

std::uint8_t checksum(std::span<const std::uint8_t> bytes) {
  std::uint8_t sum = 0;
  for (std::uint8_t byte : bytes) sum = static_cast<std::uint8_t>(sum + byte);
  return static_cast<std::uint8_t>(-sum);
}

TableHeader header(std::string_view signature, std::uint8_t revision) {
  TableHeader made;
  made.signature = Text<4>(signature);
  made.revision = revision;
  return made;
}

// Sets length and checksum of a table that is otherwise ready.
Bytes finish(Bytes table) {
  store_le(&table[offsetof(TableHeader, length)], static_cast<std::uint32_t>(table.size()));
  table[offsetof(TableHeader, checksum)] = 0;
  table[offsetof(TableHeader, checksum)] = checksum(table);
  return table;
}

Bytes make_fadt(const AcpiConfig& config, std::uint64_t facs, std::uint64_t dsdt) {
  Fadt fadt;
  fadt.header = header("FACP", 6);
  fadt.minor_version = 4;
  fadt.firmware_ctrl = static_cast<std::uint32_t>(facs);
  fadt.dsdt = static_cast<std::uint32_t>(dsdt);
  fadt.x_dsdt = dsdt;
  fadt.sci_int = static_cast<std::uint16_t>(layout::kSciGsi);
  fadt.pm1a_evt_blk = config.pm.pm1_event;
  fadt.pm1_evt_len = 4;
  fadt.x_pm1a_evt_blk = port_gas(config.pm.pm1_event, 4);
  fadt.x_pm1a_evt_blk.access_size = 2;
  fadt.pm1a_cnt_blk = config.pm.pm1_control;
  fadt.pm1_cnt_len = 2;
  fadt.x_pm1a_cnt_blk = port_gas(config.pm.pm1_control, 2);
  fadt.pm_tmr_blk = config.pm.timer;
  fadt.pm_tmr_len = 4;
  fadt.x_pm_tmr_blk = port_gas(config.pm.timer, 4);
  fadt.p_lvl2_lat = 0xffff;  // no C2, no C3
  fadt.p_lvl3_lat = 0xffff;
  fadt.iapc_boot_arch = static_cast<std::uint16_t>(kBootArchLegacyDevices | kBootArchNoVga |
                                                   (config.has_rtc ? 0 : kBootArchNoRtc));
  fadt.flags = kFadtWbinvd | kFadtProcC1 | kFadtNoSleepButton | kFadtNoFixedRtcWake |
               kFadtTimer32Bit | kFadtResetRegister;
  fadt.reset_reg = port_gas(config.pm.reset, 1);
  fadt.reset_value = config.pm.reset_value;
  return finish(bytes_of(fadt));
}

Bytes make_madt(const AcpiConfig& config) {
  Madt madt;
  madt.header = header("APIC", 5);
  madt.local_apic = static_cast<std::uint32_t>(layout::kLocalApic);
  Bytes table = bytes_of(madt);
  assert(config.nr_cpus < 255);
  for (std::uint32_t cpu = 0; cpu < config.nr_cpus; ++cpu) {
    MadtLocalApic apic;
    apic.uid = apic.apic_id = static_cast<std::uint8_t>(cpu);
    append_bytes(table, &apic, sizeof apic);
  }
  MadtIoapic ioapic;
  ioapic.address = static_cast<std::uint32_t>(layout::kIoapic);
  append_bytes(table, &ioapic, sizeof ioapic);
  MadtOverride sci;
  sci.source = static_cast<std::uint8_t>(layout::kSciGsi);
  sci.gsi = layout::kSciGsi;
  append_bytes(table, &sci, sizeof sci);
  MadtLocalApicNmi nmi;
  append_bytes(table, &nmi, sizeof nmi);
  return finish(std::move(table));
}

Bytes make_mcfg() {
  Mcfg mcfg;
  mcfg.header = header("MCFG", 1);
  mcfg.base = layout::kPciEcam;
  mcfg.last_bus = static_cast<std::uint8_t>(layout::kPciEcamSize / layout::kMiB - 1);
  return finish(bytes_of(mcfg));
}

Bytes make_xsdt(std::span<const std::uint64_t> tables) {
  Bytes table = bytes_of(header("XSDT", 1));
  for (std::uint64_t address : tables) {
    Le64 entry(address);
    append_bytes(table, &entry, sizeof entry);
  }
  return finish(std::move(table));
}

Bytes make_rsdp(std::uint64_t xsdt) {
  Rsdp rsdp;
  rsdp.length = sizeof rsdp;
  rsdp.xsdt = xsdt;
  Bytes bytes = bytes_of(rsdp);
  bytes[offsetof(Rsdp, checksum)] = checksum(std::span(bytes).first(20));
  bytes[offsetof(Rsdp, extended_checksum)] = checksum(bytes);
  return bytes;
}

// Puts tables one after the other.
class Writer {
 public:
  Writer(const GuestMemory& memory, std::uint64_t start, std::uint64_t end)
      : memory_(memory), next_(start), end_(end) {}

  Result<std::uint64_t> add(const Bytes& table) {
    std::uint64_t address = next_;
    if (table.size() > end_ - address) {
      return fail(ErrorKind::kOutOfRange, "the ACPI tables do not fit their place");
    }
    VMM_CHECK(memory_.write(GuestAddress(address), std::as_bytes(std::span(table))));
    next_ = (address + table.size() + 63) & ~std::uint64_t{63};  // the FACS wants 64
    return address;
  }

 private:
  const GuestMemory& memory_;
  std::uint64_t next_;
  const std::uint64_t end_;
};

// As Linux's driver and others look for it; the name is of no specification's.
Bytes virtio_mmio_device(const VirtioMmio& place, std::size_t index) {
  using namespace aml;
  const auto size = static_cast<std::uint32_t>(layout::kVirtioMmioSize);
  return device(fmt::format("VR{:02X}", index),
                {name("_HID", string("LNRO0005")), name("_UID", integer(index)),
                 name("_CRS", resources({
                                  memory32(static_cast<std::uint32_t>(place.address), size),
                                  edge_interrupt(place.gsi),
                              }))});
}

}  // namespace

std::vector<std::uint8_t> make_dsdt(const AcpiConfig& config) {
  using namespace aml;
  constexpr auto kLast = [](std::uint64_t start, std::uint64_t size) {
    return static_cast<std::uint32_t>(start + size - 1);
  };
  Bytes host_bridge = device(
      "PCI0", {name("_HID", eisa_id("PNP0A08")), name("_CID", eisa_id("PNP0A03")),
               name("_UID", integer(0)), name("_SEG", integer(0)), name("_BBN", integer(0)),
               name("_CRS", resources({
                                bus_range(0, layout::kPciEcamSize / layout::kMiB - 1),
                                io_ports(0xcf8, 8),
                                port_window(layout::kPciPorts, 0xffff),
                                memory_window(layout::kPciWindow,
                                              kLast(layout::kPciWindow, layout::kPciWindowSize)),
                            }))});
  // The ECAM and our other registers belong to the board: nobody may put a BAR there.
  Bytes board = device("MBRD", {name("_HID", eisa_id("PNP0C02")), name("_UID", integer(0)),
                                name("_CRS", resources({
                                                 memory32(layout::kPciEcam, layout::kPciEcamSize),
                                                 io_ports(layout::kAcpiPmPort, 16),
                                             }))});
  Bytes com1 = device("COM1", {name("_HID", eisa_id("PNP0501")), name("_UID", integer(0)),
                               name("_CRS", resources({
                                                io_ports(layout::kCom1Port, 8),
                                                edge_interrupt(layout::kCom1Gsi),
                                            }))});
  Bytes panic = device("PEVT", {name("_HID", string("QEMU0001")),
                                name("_CRS", resources({io_ports(layout::kPvPanicPort, 1)}))});
  Bytes rtc;
  if (config.has_rtc) {
    rtc = device("RTC0",
                 {name("_HID", eisa_id("PNP0B00")), name("_CRS", resources({io_ports(0x70, 2)}))});
  }
  assert(config.virtio_mmio.size() <= 256);
  Bytes virtio;
  for (std::size_t i = 0; i < config.virtio_mmio.size(); ++i) {
    virtio = concat({virtio, virtio_mmio_device(config.virtio_mmio[i], i)});
  }
  Bytes s5_type = integer(config.pm.sleep_type_power_off);

  Bytes table = bytes_of(header("DSDT", 2));
  Bytes body = concat({
      scope("\\_SB", {host_bridge, board, com1, panic, rtc, virtio}),
      name("\\_S5", package({s5_type, s5_type, integer(0), integer(0)})),
  });
  table.insert(table.end(), body.begin(), body.end());
  return finish(std::move(table));
}

Result<std::uint64_t> write_acpi_tables(const GuestMemory& memory, const AcpiConfig& config) {
  // The RSDP comes first and is written last, when the XSDT's address is known.
  std::uint64_t rsdp = layout::kAcpiTables;
  Writer writer(memory, rsdp + 64, rsdp + layout::kAcpiTablesSize);
  VMM_TRY(std::uint64_t facs, writer.add(bytes_of(Facs())));
  VMM_TRY(std::uint64_t dsdt, writer.add(make_dsdt(config)));
  VMM_TRY(std::uint64_t fadt, writer.add(make_fadt(config, facs, dsdt)));
  VMM_TRY(std::uint64_t madt, writer.add(make_madt(config)));
  VMM_TRY(std::uint64_t mcfg, writer.add(make_mcfg()));
  const std::uint64_t tables[] = {fadt, madt, mcfg};
  VMM_TRY(std::uint64_t xsdt, writer.add(make_xsdt(tables)));
  const Bytes rsdp_bytes = make_rsdp(xsdt);
  VMM_CHECK(memory.write(GuestAddress(rsdp), std::as_bytes(std::span(rsdp_bytes))));
  return rsdp;
}

}  // namespace vmm::x86
