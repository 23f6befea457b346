// SPDX-License-Identifier: Apache-2.0
// Partition tables: GPT (UEFI 2.10, chapter 5) and MBR with logical partitions in an extended one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/core/result.h"

namespace vmm::bootfind {

class Source;

enum class TableKind { kNone, kMbr, kGpt };

struct Partition {
  unsigned number = 0;                // as Linux counts: the 1 of vda1
  std::uint64_t start = 0, size = 0;  // bytes; image-controlled, not yet checked against the disk
  std::string type;                   // GPT: type GUID in upper case; MBR: two hex digits
  std::string uuid;                   // what root=PARTUUID= takes, in lower case
};

struct PartitionTable {
  TableKind kind = TableKind::kNone;
  std::vector<Partition> partitions;  // in the table's order
  std::string remark;                 // "the backup GPT was used", or nothing
};

// A disk without a table (or with a file system where the MBR would be) gives kNone. kInvalid where
// both GPT headers or their arrays are damaged.
Result<PartitionTable> read_partitions(Source& disk);

}  // namespace vmm::bootfind
