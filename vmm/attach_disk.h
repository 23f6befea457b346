// SPDX-License-Identifier: Apache-2.0
// A disk for a running machine, whose threads may open nothing: the files come from outside.
#pragma once

#include "disk/open_disk.h"
#include "vmm/core/result.h"

namespace vmm {

struct AttachedDisk;
class MachineDisk;

// What can be said of `options` before any file is opened: those that hold for a place, and not for
// what comes into it, are refused.
Result<void> check_attachable(const disk::DiskOptions& options);

// Into an empty bay. `options` are those that the disk's option says; the image's own file is the
// first of its files; all are open, and locked. What the image names and is not among them is
// refused.
Result<void> attach_disk(MachineDisk& bay, disk::DiskOptions options, AttachedDisk disk);

}  // namespace vmm
