// SPDX-License-Identifier: Apache-2.0
// Subcommands: one file each, and a line in the table of the level it belongs to (commands.cc for
// `vmm run`, disk.cc for `vmm disk create`). A file turns argv into a plain Config struct with
// CLI11 and hands that to code that knows nothing of CLI11. Only the subcommand that argv names is
// set up.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "vmm/core/result.h"

namespace CLI {
class App;
}

namespace vmm::cli {

// Exit statuses of the process; `vmm run` adds its own (run.h).
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

struct Arguments {
  std::string program;            // "vmm run": how messages and the help text name the command
  std::span<char* const> values;  // what follows it

  // What messages begin with: for a link that stands in for another program, its name alone, as
  // scripts expect it of that program.
  std::string speaker() const {
    return program.starts_with("vmm ") ? program : program.substr(0, program.find(' '));
  }
};

struct Command {
  const char* name;
  const char* summary;  // for the list in the help text; starts with a capital, no full stop
  // Gives the exit status, or the Error that main() prints as the one line that explains status 1.
  Result<int> (*run)(const Arguments& arguments);
};

// Runs the command that arguments.values names, or prints the list (`help`, `--help`, nothing).
// `about` is the first line of that list.
Result<int> dispatch(std::string_view about, std::span<const Command> commands,
                     const Arguments& arguments);

// Neither this nor dispatch() tells people of two more flags: --manual prints the manual page, and
// "--complete BEFORE WORD" what a shell may make of a word (describe.h).
//
// CLI11's parse. Gives nothing where the command shall go on; otherwise it has printed the help
// text, or the line that says what is wrong, and gives the exit status.
std::optional<int> parse(CLI::App& app, const Arguments& arguments);

}  // namespace vmm::cli
