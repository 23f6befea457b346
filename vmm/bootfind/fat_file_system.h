// SPDX-License-Identifier: Apache-2.0
// FAT12, FAT16 and FAT32 with long names, read-only: EFI system partitions and XBOOTLDR.
// Layout: Microsoft's "FAT: General Overview of On-Disk Format", 1.03.
#pragma once

#include <memory>

#include "vmm/bootfind/file_system.h"

namespace vmm::bootfind {

bool is_fat(Source& source);
Result<std::unique_ptr<FileSystem>> open_fat(Source& source);

}  // namespace vmm::bootfind
