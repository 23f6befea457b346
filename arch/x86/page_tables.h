// SPDX-License-Identifier: Apache-2.0
// The page tables that a 64-bit kernel is entered with.
#pragma once

#include "vmm/core/guest_memory.h"

namespace vmm::x86 {

// Maps the first 4 GiB to themselves with 2 MiB pages, at layout::kPageTables; CR3 is that address.
Result<void> write_identity_page_tables(const GuestMemory& memory);

}  // namespace vmm::x86
