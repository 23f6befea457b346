// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/mp_table.h"

#include <cassert>
#include <cstring>
#include <span>
#include <vector>

#include "arch/x86/layout.h"
#include "vmm/core/byte_order.h"

namespace vmm::x86 {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t kRevision = 4;  // 1.4
constexpr std::uint8_t kPciBus = 0;    // the number of the bus that it is
constexpr std::uint8_t kIsaBus = 1;
constexpr std::uint8_t kNrIsaLines = 16;
constexpr std::uint8_t kAllApics = 0xff;

// 4.1
struct FloatingPointer {
  char signature[4] = {'_', 'M', 'P', '_'};
  Le32 table;
  std::uint8_t length = 1;  // in 16 bytes
  std::uint8_t revision = kRevision;
  std::uint8_t checksum = 0;
  std::uint8_t features[5] = {};  // a configuration table is there; virtual wire mode
};
static_assert(sizeof(FloatingPointer) == 16);

// 4.2
struct Header {
  char signature[4] = {'P', 'C', 'M', 'P'};
  Le16 length;
  std::uint8_t revision = kRevision;
  std::uint8_t checksum = 0;
  char oem[8] = {'V', 'M', 'M', ' ', ' ', ' ', ' ', ' '};
  char product[12] = {'V', 'M', 'M', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
  Le32 oem_table;
  Le16 oem_size;
  Le16 nr_entries;
  Le32 local_apic;
  Le16 extended_length;
  std::uint8_t extended_checksum = 0;
  std::uint8_t reserved = 0;
};
static_assert(sizeof(Header) == 44);

// 4.3.1 to 4.3.5
struct Processor {
  std::uint8_t type = 0;
  std::uint8_t apic_id = 0;
  std::uint8_t apic_version = 0x14;
  std::uint8_t flags = 1;  // usable; bit 1: the one that boots
  Le32 signature, features;
  Le32 reserved[2];
};
struct BusEntry {
  std::uint8_t type = 1;
  std::uint8_t id;
  char name[6];
};
struct Ioapic {
  std::uint8_t type = 2;
  std::uint8_t id;
  std::uint8_t version = 0x11;
  std::uint8_t flags = 1;  // usable
  Le32 address = Le32(static_cast<std::uint32_t>(layout::kIoapic));
};
struct InterruptEntry {
  std::uint8_t type;       // 3: of a bus to the IOAPIC, 4: to local APICs
  std::uint8_t kind;       // 0: INT, 1: NMI, 3: ExtINT
  Le16 flags;              // 0: as on that bus: edges, active high
  std::uint8_t bus, line;  // where it comes from
  std::uint8_t apic, pin;  // and goes to
};
static_assert(sizeof(Processor) == 20 && sizeof(BusEntry) == 8);
static_assert(sizeof(Ioapic) == 8 && sizeof(InterruptEntry) == 8);

std::uint8_t checksum(std::span<const std::uint8_t> bytes) {
  std::uint8_t sum = 0;
  for (std::uint8_t byte : bytes) sum = static_cast<std::uint8_t>(sum + byte);
  return static_cast<std::uint8_t>(-sum);
}

class Table {
 public:
  Table() : bytes_(sizeof(Header)) {}
  template <class T>
  void add(const T& entry) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&entry);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof entry);
    ++nr_entries_;
  }
  Bytes finish() && {
    Header header;
    header.length = static_cast<std::uint16_t>(bytes_.size());
    header.nr_entries = nr_entries_;
    header.local_apic = static_cast<std::uint32_t>(layout::kLocalApic);
    std::memcpy(bytes_.data(), &header, sizeof header);
    bytes_[offsetof(Header, checksum)] = checksum(bytes_);
    return std::move(bytes_);
  }

 private:
  Bytes bytes_;
  std::uint16_t nr_entries_ = 0;
};

Bytes make_table(std::uint32_t nr_cpus) {
  Table table;
  for (std::uint32_t id = 0; id < nr_cpus; ++id) {
    Processor processor;
    processor.apic_id = static_cast<std::uint8_t>(id);
    if (id == 0) processor.flags |= 2;
    table.add(processor);
  }
  table.add(BusEntry{.id = kPciBus, .name = {'P', 'C', 'I', ' ', ' ', ' '}});
  table.add(BusEntry{.id = kIsaBus, .name = {'I', 'S', 'A', ' ', ' ', ' '}});
  const auto ioapic = static_cast<std::uint8_t>(nr_cpus);  // no processor's id
  table.add(Ioapic{.id = ioapic});
  // Line n is pin n: our PCI devices have none, only messages.
  for (std::uint8_t line = 0; line < kNrIsaLines; ++line) {
    table.add(InterruptEntry{3, 0, Le16(0), kIsaBus, line, ioapic, line});
  }
  table.add(InterruptEntry{4, 3, Le16(0), kIsaBus, 0, kAllApics, 0});
  table.add(InterruptEntry{4, 1, Le16(0), kIsaBus, 0, kAllApics, 1});
  return std::move(table).finish();
}

}  // namespace

Result<void> write_mp_tables(const GuestMemory& memory, std::uint32_t nr_cpus) {
  assert(nr_cpus > 0 && nr_cpus <= 254);
  constexpr std::uint64_t kTable = layout::kMpTables + sizeof(FloatingPointer);
  const Bytes table = make_table(nr_cpus);
  FloatingPointer pointer;
  pointer.table = static_cast<std::uint32_t>(kTable);
  pointer.checksum = checksum({reinterpret_cast<const std::uint8_t*>(&pointer), sizeof pointer});
  VMM_CHECK(memory.write_object(GuestAddress(layout::kMpTables), pointer));
  return memory.write(GuestAddress(kTable), std::as_bytes(std::span(table)));
}

}  // namespace vmm::x86
