// SPDX-License-Identifier: Apache-2.0
// Luggage: what a boot hands on to the next one of the same machine, which another process runs:
// the disks that were attached while it ran.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "vmm/control/protocol.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm {

// An image that was attached: its files, open beside those that the disk itself has.
struct AttachedDisk {
  AttachedDisk() = default;
  AttachedDisk(AttachedDisk&&) = default;
  AttachedDisk& operator=(AttachedDisk&&) = default;
  // Gives up the locks on the files: io_uring may hold these open a little longer.
  ~AttachedDisk();

  // The same files once more, with the same locks; no lock is given up with them.
  Result<std::vector<control::GivenFile>> open_again() const;

  std::string option;  // as for --disk
  std::vector<control::GivenFile> files;
};

class Luggage {
 public:
  // Before the processes are forked that run the boots; any of them may put, and take.
  static Result<Luggage> create();

  // `index`: of the disk, among all of the machine's. Does not block.
  Result<void> put(std::size_t index, AttachedDisk disk);

  struct Piece {
    std::size_t index;
    AttachedDisk disk;
  };
  // All there are.
  std::vector<Piece> take();

 private:
  UniqueFd in_, out_;
};

}  // namespace vmm
