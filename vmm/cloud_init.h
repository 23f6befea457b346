// SPDX-License-Identifier: Apache-2.0
// The disk by which cloud-init in a guest gets its configuration: its NoCloud data source looks for
// a file system labelled CIDATA with the files user-data and meta-data.
#pragma once

#include <string>
#include <string_view>

#include "disk/open_disk.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm {

// A meta-data file for a guest whose user wrote none. cloud-init does what is done once per
// instance again when the id changes: so the machine's name is the id and the host's name, and
// without one the id is the same for all.
std::string default_meta_data(std::string_view name);

// The volume, in a sealed memory file. Fails where the two are too large.
Result<UniqueFd> make_seed(std::string_view user_data, std::string_view meta_data);

// The disk that gives it to a guest. `seed` must stay until the disk is open.
disk::DiskOptions seed_disk(const UniqueFd& seed);

}  // namespace vmm
