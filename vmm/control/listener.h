// SPDX-License-Identifier: Apache-2.0
// Listener: a name for a virtual machine that is about to run, and the socket by which it will be
// steered. One name is one running machine.
#pragma once

#include <string>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm::control {

class Listener {
 public:
  // Takes the name in `directory`, which is made where it is missing. A socket that an earlier
  // machine left behind is removed. kBusy where a machine of this name runs. While the process has
  // one thread.
  static Result<Listener> create(const std::string& directory, const std::string& name);

  // Forks a process that removes the socket once this one, and all that it forked later, are gone:
  // by then a sandbox may have taken the right to do so. While the process has one thread.
  Result<void> remove_at_end();

  int fd() const { return fd_.get(); }  // listening, non-blocking
  const std::string& name() const { return name_; }

 private:
  Listener() = default;

  UniqueFd fd_;
  UniqueFd alive_;  // closed when the last process that has it is gone
  std::string directory_, name_;
};

// Removes the socket of a machine that is gone; false where one may still be there.
bool remove_if_stale(const std::string& directory, const std::string& name);

}  // namespace vmm::control
