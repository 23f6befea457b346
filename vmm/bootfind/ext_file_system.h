// SPDX-License-Identifier: Apache-2.0
// ext2, ext3 and ext4, by libext2fs on top of a Source. Read-only; a journal is not replayed.
#pragma once

#include <memory>

#include "vmm/bootfind/file_system.h"

namespace vmm::bootfind {

bool is_ext(Source& source);
Result<std::unique_ptr<FileSystem>> open_ext(Source& source);

}  // namespace vmm::bootfind
