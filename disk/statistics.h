// SPDX-License-Identifier: Apache-2.0
// What a disk counted, as one line for people.
#pragma once

#include <string>

#include "disk/disk.h"

namespace vmm::disk {

// "L2 cache 2 MiB in 4 KiB slices: 10 hits, ..."; empty for formats that count nothing. On the
// disk's thread; before its destructor, after close() too.
std::string describe_statistics(Disk& disk);

}  // namespace vmm::disk
