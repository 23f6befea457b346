// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/metadata_map.h"

namespace vmm::disk::qcow {

const char* name_of(MetadataKind kind) {
  switch (kind) {
    case MetadataKind::kHeader:
      return "header";
    case MetadataKind::kL1Table:
      return "active L1 table";
    case MetadataKind::kL2Table:
      return "L2 table";
    case MetadataKind::kRefcountTable:
      return "refcount table";
    case MetadataKind::kRefcountBlock:
      return "refcount block";
    case MetadataKind::kSnapshotTable:
      return "snapshot table";
    case MetadataKind::kInactiveL1Table:
      return "inactive L1 table";
  }
  return "metadata";
}

}  // namespace vmm::disk::qcow
