// SPDX-License-Identifier: Apache-2.0
// The table of internal snapshots: who they are, and where each has its L1 table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "disk/qcow/header.h"
#include "disk/storage.h"

namespace vmm::disk::qcow {

struct Snapshot {
  HostOffset l1_offset;
  std::uint32_t l1_entries = 0;
  std::string id;    // unique, as text
  std::string name;  // what users call it
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::uint64_t vm_state_size = 0;  // bytes of machine state stored behind the disk's end
  std::uint64_t disk_size = 0;      // virtual, bytes
  std::uint64_t instruction_count = ~std::uint64_t{0};  // all ones: not recorded
  std::vector<std::byte> further_fields;                // extra data this program does not know
};

// One of this name and moment; its place, id and size are not known yet.
Snapshot new_snapshot(std::string name);

// Reads and checks the table the header points to. Fails with kInvalid for entries that leave the
// table or limits; L1 tables are checked for alignment, place and size.
Task<Result<std::vector<Snapshot>>> load_snapshots(Storage& storage, const Header& header);

// The bytes of a table. Fails beyond the limits of the format.
Result<std::vector<std::byte>> encode_snapshots(const std::vector<Snapshot>& snapshots);

}  // namespace vmm::disk::qcow
