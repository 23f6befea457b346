// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/core/testing/catch.h"

namespace vmm::cli {
namespace {

// CLI11 takes arguments from the back.
bool parses(CLI::App& app, std::vector<std::string> arguments) {
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return true;
  } catch (const CLI::ParseError&) {
    return false;
  }
}

TEST_CASE("CommandLine: values of each type arrive", "[cli]") {
  CommandLine line("A command.");
  std::string text;
  std::optional<std::string> maybe, never;
  std::vector<std::string> list;
  int whole = 0;
  std::uint32_t small = 0;
  std::uint64_t large = 0;
  double fraction = 0;
  std::optional<std::uint16_t> port;
  std::optional<std::uint32_t> user;
  std::optional<std::uint64_t> size;
  bool on = false, off = true;
  line.add_option("-t,--text", text, "");
  line.add_option("--maybe", maybe, "");
  line.add_option("--never", never, "");
  line.add_option("--list", list, "")->allow_extra_args(false);
  line.add_option("--whole", whole, "");
  line.add_option("--small", small, "");
  line.add_option("--large", large, "");
  line.add_option("--fraction", fraction, "");
  line.add_option("--port", port, "");
  line.add_option("--user", user, "");
  line.add_option("--size", size, "");
  line.add_flag("--on", on, "");
  line.add_flag("--off,!--no-off", off, "");
  REQUIRE(parses(line, {"-t", "a b", "--maybe=x", "--list", "1", "--list=2", "--whole", "-3",
                        "--small=7", "--large", "18446744073709551615", "--fraction=0.5",
                        "--port=65535", "--user=0", "--size=9", "--on", "--no-off"}));
  CHECK(text == "a b");
  CHECK(maybe == "x");
  CHECK_FALSE(never.has_value());
  CHECK(list == std::vector<std::string>{"1", "2"});
  CHECK(whole == -3);
  CHECK(small == 7);
  CHECK(large == UINT64_MAX);
  CHECK(fraction == 0.5);
  CHECK(port == 65535);
  CHECK(user == 0u);
  CHECK(size == 9u);
  CHECK(on);
  CHECK_FALSE(off);
  CHECK_FALSE(parses(line, {"--port=65536"}));
}

TEST_CASE("CommandLine: what an option demands is demanded", "[cli]") {
  CommandLine line("A command.");
  std::string name, output = "human", directory, seed;
  std::uint32_t cpus = 1;
  double seconds = 1;
  bool follow = false, once = false;
  line.add_option("NAME", name, "")->required();
  line.add_option("--output", output, "")->one_of({"human", "json"});
  line.add_option("--cpus", cpus, "")->in_range(1u, 4u);
  line.add_option("--root", directory, "")->existing_directory();
  Option* watch = line.add_flag("--follow", follow, "");
  line.add_option("--interval", seconds, "")->in_range(0.5, 2.0)->needs(watch);
  line.add_flag("--once", once, "")->excludes(watch);
  Option* random = line.add_option("--random", seed, "")->expected(0, 1)->default_str("");

  CHECK_FALSE(parses(line, {}));
  CHECK_FALSE(parses(line, {"web", "--output=xml"}));
  CHECK_FALSE(parses(line, {"web", "--cpus=5"}));
  CHECK_FALSE(parses(line, {"web", "--root=/nowhere/at/all"}));
  CHECK_FALSE(parses(line, {"web", "--interval=1"}));
  CHECK_FALSE(parses(line, {"web", "--follow", "--interval=3"}));
  CHECK_FALSE(parses(line, {"web", "--follow", "--once"}));

  CHECK(parses(line, {"web", "--output=json", "--cpus=4", "--root=/", "--follow", "--interval=2"}));
  CHECK(name == "web");
  CHECK(output == "json");
  CHECK_FALSE(random->given());
  CHECK(parses(line, {"web", "--random"}));
  CHECK(random->given());
  CHECK(seed.empty());
}

TEST_CASE("CommandLine: help tells of values, defaults, words and ranges", "[cli]") {
  CommandLine line("Does a thing.");
  std::string kernel, memory = "512M", console = "serial";
  std::uint32_t cpus = 2;
  line.add_option("-k,--kernel", kernel, "The kernel")->type_name("FILE");
  line.add_option("--mem", memory, "Its memory")->type_name("SIZE")->capture_default_str();
  line.add_option("--console", console, "Its console")
      ->one_of({"serial", "virtio"})
      ->capture_default_str();
  line.add_option("--cpus", cpus, "Its vCPUs")->type_name("N")->in_range(1u, 64u);
  line.footer("More in the manual.");
  const std::string help = static_cast<CLI::App&>(line).help();
  for (const char* part : {"Does a thing.", "-k,--kernel FILE", "--mem SIZE=512M",
                           "{serial,virtio}=serial", "[1 - 64]", "More in the manual."}) {
    CAPTURE(help, part);
    CHECK(help.find(part) != std::string::npos);
  }
}

}  // namespace
}  // namespace vmm::cli
