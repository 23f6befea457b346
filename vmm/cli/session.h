// SPDX-License-Identifier: Apache-2.0
// Session: the terminal's side of a run: passes input to the guest, watches for the escape keys and
// for signals, until the machine ends.
#pragma once

#include <memory>
#include <vector>

#include "vmm/cli/escape.h"
#include "vmm/cli/output_writer.h"
#include "vmm/cli/terminal.h"
#include "vmm/core/result.h"
#include "vmm/core/unique_fd.h"
#include "vmm/sandbox/sandbox.h"

namespace vmm {
class Machine;
namespace control {
class Server;
class Target;
}  // namespace control
}  // namespace vmm

namespace vmm::cli {

class Session {
 public:
  // Blocks the signals that end a run (they are waited for in run()), so this comes before any
  // thread is made. SIGPIPE is ignored from here on.
  static Result<std::unique_ptr<Session>> create(int in_fd, int out_fd);
  ~Session();

  OutputWriter& output() { return *output_; }

  struct End {
    bool by_user = false;  // the escape key, or `vmm stop --force`
    int signal = 0;        // that ended the run; 0: none
  };
  // Closes the sandbox and starts the machine; comes back when it ended by itself, or shall be
  // ended. The terminal is raw meanwhile, and after it until the Session goes away.
  // `control` may be null; it answers for `target` from the machine's start to the end of run().
  Result<End> run(Machine& machine, control::Server* control, control::Target& target,
                  const sandbox::SandboxConfig& sandbox);

  // After the machine has stopped: waits until the reader has everything, or a signal says that it
  // never will. Not after an end that the user or a signal asked for: then only for a moment.
  void drain(const End& end);

 private:
  Session(int in_fd, UniqueFd signal_fd, UniqueFd input_room_fd,
          std::unique_ptr<OutputWriter> output);
  Result<void> start_output(const sandbox::SandboxConfig& sandbox);
  Result<End> wait_for_end(Machine& machine);
  void read_input(Machine& machine, End& end);
  void pass_input(Machine& machine);
  void handle_signal(Machine& machine, End& end);
  void show_help();

  const int in_fd_;
  UniqueFd signal_fd_;
  UniqueFd input_room_fd_;
  std::unique_ptr<OutputWriter> output_;
  std::unique_ptr<RawTerminal> terminal_;
  EscapeParser escape_;
  std::vector<std::byte> pending_;  // typed, and not yet taken by the guest
  bool input_open_ = true;
};

}  // namespace vmm::cli
