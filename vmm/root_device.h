// SPDX-License-Identifier: Apache-2.0
// Whether root= on the kernel command line names something that the machine has.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct DiskPartitions {
  std::string path;  // of the image
  bool partitioned = false;
  std::vector<unsigned> numbers;  // of the partitions that were found; empty: not known
};

// Whether root= in `params` is a disk by its device's name, so that complaint_about_root() can
// judge it.
bool root_is_device(std::string_view params);

// One sentence where root= names a disk or partition that the guest will not find, and says what
// there is; else "". `disks` in the guest's order: vda, vdb, ...
std::string complaint_about_root(std::string_view params, std::span<const DiskPartitions> disks);

}  // namespace vmm
