// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/command.h"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <vector>

#include "vmm/cli/describe.h"

namespace vmm::cli {
namespace {

int print_list(std::string_view about, std::span<const Command> commands,
               const std::string& program) {
  fmt::print("{}\n\nUsage: {} COMMAND [OPTION...]\n\nCommands:\n", about, program);
  std::size_t width = 0;
  for (const Command& command : commands) {
    width = std::max(width, std::string_view(command.name).size());
  }
  for (const Command& command : commands) {
    fmt::print("  {:{}}  {}\n", command.name, width, command.summary);
  }
  fmt::print("\n'{} COMMAND --help' tells more about one.\n", program);
  return kExitSuccess;
}

}  // namespace

Result<int> dispatch(std::string_view about, std::span<const Command> commands,
                     const Arguments& arguments) {
  std::string_view name = arguments.values.empty() ? "--help" : arguments.values[0];
  std::span<char* const> rest =
      arguments.values.empty() ? arguments.values : arguments.values.subspan(1);
  bool wants_help = name == "help";
  if (wants_help && !rest.empty()) name = rest[0];  // `vmm help run` is `vmm run --help`

  for (const Command& command : commands) {
    if (name != command.name) continue;
    std::string program = arguments.program + " " + command.name;
    if (!wants_help) return command.run({std::move(program), rest});
    char flag[] = "--help";
    char* const help[] = {flag};
    return command.run({std::move(program), help});
  }
  if (name == "--manual") {
    fmt::print("{}", manual_page(about, commands, arguments.program));
    return kExitSuccess;
  }
  if (name == "--complete" && !rest.empty()) {
    fmt::print("{}", completions(commands, rest.back()));
    return kExitSuccess;
  }
  if (name == "--help" || name == "-h" || name == "help") {
    print_list(about, commands, arguments.program);
    return arguments.values.empty() ? kExitUsage : kExitSuccess;
  }
  fmt::print(stderr, "{}: there is no command '{}'; '{} help' lists them\n", arguments.program,
             name, arguments.program);
  return kExitUsage;
}

std::optional<int> parse(CLI::App& app, const Arguments& arguments) {
  app.name(arguments.program);
  const std::span<char* const> given = arguments.values;
  if (given.size() == 1 && given[0] == std::string_view("--manual")) {
    fmt::print("{}", manual_page(app, arguments.program));
    return kExitSuccess;
  }
  if (given.size() == 3 && given[0] == std::string_view("--complete")) {
    fmt::print("{}", completions(app, given[1], given[2]));
    return kExitSuccess;
  }
  // CLI11 takes arguments from the back.
  std::vector<std::string> values(arguments.values.rbegin(), arguments.values.rend());
  try {
    app.parse(std::move(values));
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return kExitSuccess;
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "{}: {}; see {} --help\n", arguments.program, error.what(),
               arguments.program);
    return kExitUsage;
  }
}

}  // namespace vmm::cli
