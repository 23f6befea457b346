// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/command.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <vector>

#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::cli;

namespace {

// Copies of the arguments, as main() gets them.
class Argv {
 public:
  Argv(std::initializer_list<const char*> values) : texts_(values.begin(), values.end()) {
    for (std::string& text : texts_) pointers_.push_back(text.data());
  }
  Arguments arguments() const { return {"vmm", pointers_}; }

 private:
  std::vector<std::string> texts_;
  std::vector<char*> pointers_;
};

std::vector<std::string> seen;

Result<int> remember(const Arguments& arguments) {
  seen = {arguments.program};
  for (const char* value : arguments.values) seen.push_back(value);
  return 7;
}

constexpr Command kCommands[] = {{"remember", "Remember the arguments", remember}};

}  // namespace

TEST_CASE("dispatch: the command gets what follows its name", "[cli]") {
  Argv argv{"remember", "--size", "3"};
  CHECK(*dispatch("about", kCommands, argv.arguments()) == 7);
  CHECK(seen == std::vector<std::string>{"vmm remember", "--size", "3"});
}

TEST_CASE("dispatch: 'help COMMAND' asks the command itself", "[cli]") {
  Argv argv{"help", "remember"};
  CHECK(*dispatch("about", kCommands, argv.arguments()) == 7);
  CHECK(seen == std::vector<std::string>{"vmm remember", "--help"});
}

TEST_CASE("dispatch: an unknown command and no command at all are usage errors", "[cli]") {
  CHECK(*dispatch("about", kCommands, Argv{"forget"}.arguments()) == kExitUsage);
  CHECK(*dispatch("about", kCommands, Argv{"help", "forget"}.arguments()) == kExitUsage);
  CHECK(*dispatch("about", kCommands, Argv{}.arguments()) == kExitUsage);
  CHECK(*dispatch("about", kCommands, Argv{"--help"}.arguments()) == kExitSuccess);
}

TEST_CASE("parse: reads flags, and refuses unknown ones", "[cli]") {
  CLI::App app("about");
  int size = 0;
  app.add_option("--size", size);
  CHECK_FALSE(parse(app, Argv{"--size", "3"}.arguments()));
  CHECK(size == 3);
  CHECK(parse(app, Argv{"--colour"}.arguments()) == kExitUsage);
  CHECK(parse(app, Argv{"--help"}.arguments()) == kExitSuccess);
}
