// SPDX-License-Identifier: Apache-2.0
// Listener: a name for a virtual machine that is about to run, and the socket by which it will be
// steered. One name is one running machine.
#pragma once

#include <string>
#include <utility>

#include "vmm/core/result.h"
#include "vmm/core/socket_file.h"

namespace vmm::control {

class Listener {
 public:
  // Takes the name in `directory`, which is made where it is missing. A socket that an earlier
  // machine left behind is removed. kBusy where a machine of this name runs. While the process has
  // one thread.
  static Result<Listener> create(const std::string& directory, const std::string& name);

  // As SocketFile::remove_at_end().
  Result<void> remove_at_end() { return file_.remove_at_end(); }

  int fd() const { return file_.fd(); }  // listening, non-blocking
  const std::string& name() const { return name_; }

 private:
  Listener(SocketFile file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  SocketFile file_;
  std::string name_;
};

// Removes the socket of a machine that is gone; false where one may still be there.
bool remove_if_stale(const std::string& directory, const std::string& name);

}  // namespace vmm::control
