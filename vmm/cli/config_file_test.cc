// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/config_file.h"

#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "vmm/cli/config_json.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;
using namespace vmm::cli;

namespace {

// A file with that text, gone at the end.
class TextFile {
 public:
  explicit TextFile(const std::string& text) {
    const int fd = ::mkstemp(path_);
    REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    ::close(fd);
  }
  ~TextFile() { ::unlink(path_); }
  const char* path() const { return path_; }

 private:
  char path_[32] = "/tmp/config-test-XXXXXX";
};

// Options of every kind.
struct Options {
  Options() {
    app.add_option("-k,--kernel", kernel)->type_name("FILE");
    app.add_option("-d,--disk", disks)->type_name("FILE")->allow_extra_args(false);
    app.add_option("-c,--cpus", cpus)->type_name("N")->check(CLI::Range(1u, 64u));
    app.add_option("-m,--mem", memory)->type_name("SIZE")->capture_default_str();
    app.add_flag("--rng,!--no-rng", rng)->default_str("true");
    app.add_flag("--jail", jail);
    app.add_option("--config", config);
  }

  // As `vmm run` with those arguments and a file of that text; the error, or "".
  std::string read(const std::string& text, std::vector<std::string> given = {}) {
    const TextFile file(text);
    app.parse(std::vector<std::string>(given.rbegin(), given.rend()));
    std::vector<char*> pointers;
    for (std::string& each : given) pointers.push_back(each.data());
    Result<std::vector<std::string>> all = with_config_file(app, file.path(), pointers);
    if (!all) {
      const std::string prefix = std::string(file.path()) + ": ";
      REQUIRE(all.error().message().starts_with(prefix));
      return all.error().message().substr(prefix.size());
    }
    app.parse(std::vector<std::string>(all->rbegin(), all->rend()));
    return "";
  }

  CLI::App app{"about"};
  std::string kernel, memory = "512M", config;
  std::vector<std::string> disks;
  unsigned cpus = 1;
  bool rng = true, jail = false;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("config file: members are options", "[cli]") {
  Options options;
  REQUIRE(options.read(R"({
      // comments are allowed
      "kernel": "a=b.img", "disk": ["x,ro", "-y"], "cpus": 4, "mem": 2048, "rng": false,
      "jail": true})") == "");
  CHECK(options.kernel == "a=b.img");
  CHECK(options.disks == std::vector<std::string>{"x,ro", "-y"});
  CHECK(options.cpus == 4);
  CHECK(options.memory == "2048");
  CHECK_FALSE(options.rng);
  CHECK(options.jail);
}

TEST_CASE("config file: an empty object changes nothing", "[cli]") {
  Options options;
  REQUIRE(options.read("{}", {"--cpus", "3"}) == "");
  CHECK(options.cpus == 3);
  CHECK(options.memory == "512M");
}

TEST_CASE("config file: the command line overrides, and adds disks behind the file's", "[cli]") {
  Options options;
  REQUIRE(options.read(R"({"mem": "1G", "cpus": 2, "disk": "a", "rng": false, "jail": true})",
                       {"-m", "2G", "--rng", "-d", "b", "-d", "c", "--jail=false"}) == "");
  CHECK(options.memory == "2G");
  CHECK(options.cpus == 2);
  CHECK(options.disks == std::vector<std::string>{"a", "b", "c"});
  CHECK(options.rng);
  CHECK_FALSE(options.jail);
}

TEST_CASE("config file: an unknown member is refused with its line, and the known ones told",
          "[cli]") {
  Options options;
  const std::string error = options.read("{\n  \"cpus\": 2,\n  \"colour\": \"red\"\n}");
  CHECK(error == "line 3: there is no 'colour'; known are kernel, disk, cpus, mem, rng, jail");
  // A file names no other file, nor a short name.
  for (const char* name : {"config", "d", "help", "", "no-rng"}) {
    INFO(name);
    CHECK(contains(options.read(std::string("{\"") + name + "\": \"x\"}"), "line 1: there is no"));
  }
}

TEST_CASE("config file: a wrong type is refused with the member's line", "[cli]") {
  for (auto [text, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"{\n\"kernel\": 5}", "line 2: 'kernel' must be a string"},
           {"{\"kernel\":\n\n null}", "line 1: 'kernel' must be a string"},
           {"{\"kernel\": [\"a\"]}", "line 1: 'kernel' must be a string"},
           {"{\"disk\": [\"a\",\n 7]}", "line 1: 'disk' must be a string or an array of strings"},
           {"{\"rng\": \"no\"}", "line 1: 'rng' must be true or false"},
           {"{\"jail\": 1}", "line 1: 'jail' must be true or false"},
           {"{\"cpus\": true}", "line 1: 'cpus' must be a whole number or a string"},
           {"{\"disk\": {\"file\": \"a\"}}", "line 1: 'disk' must not be an object"},
           {"{\"disk\": [[\"a\"]]}", "line 1: 'disk' has an array in an array"},
           {"{\"cpus\": 1,\n\"cpus\": 2}", "line 2: 'cpus' is there twice"}}) {
    Options options;
    CHECK(options.read(text) == wanted);
  }
}

TEST_CASE("config file: a value that the option would not take is refused with its line", "[cli]") {
  for (const char* cpus : {"0", "65", "-1", "1.5", "1e3", "99999999999999999999", "\"two\""}) {
    INFO(cpus);
    Options options;
    const std::string error = options.read(std::string("{\n\n\"cpus\": ") + cpus + "\n}");
    CHECK(contains(error, "line 3: "));
    CHECK(contains(error, "--cpus"));
  }
}

TEST_CASE("config file: what is no JSON object is refused with the line", "[cli]") {
  for (const char* text : {"", "{", "[]", "7", "\"x\"", "null", "{\"cpus\" 2}", "{\"cpus\": 2,}",
                           "{} {}", "{\"kernel\": \"\xff\"}", "{\"kernel\": \"a\tb\"}",
                           "{\"disk\": [", "\xef\xbb\xbf[]", "{1: 2}"}) {
    INFO(text);
    Options options;
    CHECK(options.read(text).starts_with("line 1"));
  }
  Options options;
  CHECK(options.read("{\n\"cpus\": 2,\n\n}").starts_with("line 4"));
  // The parser does not recurse.
  CHECK(options.read("{\"disk\": " + std::string(500000, '[')).starts_with("line 1"));
  CHECK(contains(options.read(std::string(kMaxConfigFile + 1, ' ')), "larger than"));
  CHECK_FALSE(with_config_file(options.app, "/tmp", {}));
  CHECK_FALSE(with_config_file(options.app, "/nowhere/vm.json", {}));
}

TEST_CASE("config file: what is printed reads back as the same", "[cli]") {
  Options first;
  const char* text = R"({"kernel": "k \"1\"", "disk": ["a", "b,ro"], "cpus": 2, "rng": false})";
  REQUIRE(first.read(text, {"--jail"}) == "");
  const std::string printed = *to_config_file(first.app);
  CHECK(printed ==
        "{\n  \"kernel\": \"k \\\"1\\\"\",\n  \"disk\": [\n    \"a\",\n    \"b,ro\"\n  ],\n"
        "  \"cpus\": 2,\n  \"mem\": \"512M\",\n  \"rng\": false,\n  \"jail\": true\n}\n");
  Options second;
  REQUIRE(second.read(printed) == "");
  CHECK(*to_config_file(second.app) == printed);

  Options defaults;
  REQUIRE(defaults.read("{}") == "");
  CHECK(contains(*to_config_file(defaults.app), "\"rng\": true"));
  Options bytes;
  REQUIRE(bytes.read("{}", {"--kernel", "\xff"}) == "");
  CHECK_FALSE(to_config_file(bytes.app));
}
