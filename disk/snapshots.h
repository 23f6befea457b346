// SPDX-License-Identifier: Apache-2.0
// The snapshots inside the image of a disk that is open.
#pragma once

#include <string>
#include <vector>

#include "disk/disk.h"
#include "disk/qcow/snapshot_table.h"

namespace vmm::disk {

// Of what the disk holds now; it is durable when it is done. Nothing else may be under way. Fails
// with kUnsupported for formats that have none, with kPermission for a read-only disk.
Task<Result<void>> create_snapshot(Disk& disk, std::string name);
// By id or name, the id first. The same holds; fails with kNotFound.
Task<Result<void>> delete_snapshot(Disk& disk, std::string id_or_name);
// Fails with kUnsupported.
Result<std::vector<qcow::Snapshot>> snapshots_of(Disk& disk);

}  // namespace vmm::disk
