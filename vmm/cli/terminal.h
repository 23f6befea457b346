// SPDX-License-Identifier: Apache-2.0
// RawTerminal: the terminal in raw mode for as long as the object lives. Restored by the
// destructor, and where the process dies of a fault or abort().
#pragma once

#include <termios.h>

#include <memory>

#include "vmm/core/result.h"

namespace vmm::cli {

class RawTerminal {
 public:
  // Null where `fd` is no terminal, or where this process runs in its background: it then belongs
  // to somebody else. At most one object at a time.
  static Result<std::unique_ptr<RawTerminal>> enter(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  // For a signal handler: the terminal as it was, at once. Does nothing where none is raw.
  static void restore_now();

  // For stopping (SIGTSTP) and going on.
  void suspend();
  void resume();

 private:
  RawTerminal(int fd, const termios& before, const termios& raw)
      : fd_(fd), before_(before), raw_(raw) {}

  const int fd_;
  const termios before_;
  const termios raw_;
};

}  // namespace vmm::cli
