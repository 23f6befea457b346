// SPDX-License-Identifier: Apache-2.0
// SocketFile: a Unix socket that listens under a name, while this program runs.
#pragma once

#include <string>

#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"

namespace vmm {

class SocketFile {
 public:
  // Makes the file, with mode 0600. One that a program left behind, and on which nobody listens
  // any more, is removed; kBusy where somebody does, kInvalid where it is no socket. Of several
  // that do this at once, one gets it: the directory is locked (flock) meanwhile, which needs the
  // right to read it. While the process has one thread.
  static Result<SocketFile> create(const std::string& path);
  // Whether create() would be stopped by what is there.
  static Result<void> check(const std::string& path);
  // Removes a socket on which nobody listens any more; false where there is none, or where somebody
  // may.
  static bool remove_if_stale(const std::string& path);

  // Forks a process that removes the file once this one, and all that it forked later, are gone or
  // have closed all they had: by then a sandbox may have taken the right to do so. While the
  // process has one thread.
  Result<void> remove_at_end();

  int fd() const { return fd_.get(); }  // listening, non-blocking

 private:
  SocketFile() = default;

  std::string path_;
  UniqueFd fd_;
  UniqueFd alive_;  // closed when the last process that has it is gone
};

// Closes all descriptors of this process but two.
void close_all_but(int one, int other);

}  // namespace vmm
