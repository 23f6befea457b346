// SPDX-License-Identifier: Apache-2.0
// Giving up what a process may do by who it is: privileges, capabilities, user and group.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "vmm/core/result.h"

namespace vmm::sandbox {

// exec() will never give more than there is now, and no filter may be installed without this.
// Inherited by threads made afterwards.
Result<void> set_no_new_privileges();

// No capability can ever be gained again, by any means. Without CAP_SETPCAP there is nothing to do:
// no_new_privs has the same effect. Inherited by threads made afterwards.
Result<void> empty_bounding_set();

// The calling thread has none of root's powers afterwards, but those in `keep` (bits by number).
Result<void> drop_capabilities(std::uint64_t keep = 0);

// For all threads. Drops the supplementary groups too.
Result<void> change_user(std::optional<uid_t> uid, std::optional<gid_t> gid);

}  // namespace vmm::sandbox
