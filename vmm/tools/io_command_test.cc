// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/io_command.h"

#include <cstdio>
#include <memory>

#include "vmm/core/testing/catch.h"

namespace vmm::tools {
namespace {

// A stream whose contents can be looked at.
struct Scratch {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::tmpfile(), std::fclose};

  std::string text() const {
    std::rewind(file.get());
    char buffer[512];
    return std::string(buffer, std::fread(buffer, 1, sizeof(buffer), file.get()));
  }
};

TEST_CASE("split_words: any number of spaces separates words", "[tools]") {
  CHECK(split_words("  read   0 4k ") == IoWords{"read", "0", "4k"});
  CHECK(split_words("").empty());
  CHECK(split_words("   ").empty());
}

TEST_CASE("OptionReader: options may stand after operands and share a dash", "[tools]") {
  const Scratch err;
  const IoWords words = split_words("write 0 -qP7 4k -s x -- -z");
  OptionReader options(words, "P:qs:z", err.file.get());
  CHECK(options.next() == 'q');
  CHECK(options.next() == 'P');
  CHECK(options.value() == "7");
  CHECK(options.next() == 's');
  CHECK(options.value() == "x");
  CHECK(options.next() == 0);
  CHECK(options.operands() == std::vector<std::string>{"0", "4k", "-z"});
  CHECK(err.text().empty());
}

TEST_CASE("OptionReader: a value may follow as a word, even one with a dash", "[tools]") {
  const Scratch err;
  const IoWords words = split_words("read -s -3 0 1");
  OptionReader options(words, "s:", err.file.get());
  CHECK(options.next() == 's');
  CHECK(options.value() == "-3");
  CHECK(options.next() == 0);
  CHECK(options.operands().size() == 2);
}

TEST_CASE("OptionReader: unknown letters and missing values are named", "[tools]") {
  const Scratch err;
  const IoWords words = split_words("write -Y -: 0 -P");
  OptionReader options(words, "P:", err.file.get());
  CHECK(options.next() == '?');
  CHECK(options.next() == '?');
  CHECK(options.next() == '?');
  CHECK(options.next() == 0);
  CHECK(err.text() ==
        "write: invalid option -- 'Y'\nwrite: invalid option -- ':'\n"
        "write: option requires an argument -- 'P'\n");
}

TEST_CASE("read_pattern: one byte in C's notation", "[tools]") {
  const Scratch out;
  CHECK(read_pattern(out.file.get(), "0xab") == 0xab);
  CHECK(read_pattern(out.file.get(), "010") == 8);
  CHECK(read_pattern(out.file.get(), "255") == 255);
  CHECK_FALSE(read_pattern(out.file.get(), "256"));
  CHECK_FALSE(read_pattern(out.file.get(), "-1"));
  CHECK_FALSE(read_pattern(out.file.get(), ""));
  CHECK(out.text().starts_with("256 is not a valid pattern byte\n"));
}

TEST_CASE("find_io_command: every name and alias finds one command", "[tools]") {
  for (const IoCommand& command : io_commands()) {
    CHECK(find_io_command(command.name) == &command);
    if (command.alias != nullptr) CHECK(find_io_command(command.alias) == &command);
  }
  CHECK(find_io_command("reformat") == nullptr);
}

}  // namespace
}  // namespace vmm::tools
