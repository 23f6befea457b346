// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/answer.h"

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

Answer example() {
  Answer answer;
  answer.entries.resize(2);
  answer.entries[1] = {BootMethod::kGrub, true,       "id",         "title",
                       "partition 1",     "/vmlinuz", {"/a", "/b"}, "root=/dev/vda1"};
  answer.chosen = 1;
  return answer;
}

}  // namespace

TEST_CASE("Answer: entries come back as they were sent", "[bootfind]") {
  Result<Answer> back = decode_answer(encode_answer(example()));
  REQUIRE(back.has_value());
  CHECK(back->chosen == 1);
  REQUIRE(back->entries.size() == 2);
  const BootEntry& entry = back->entries[1];
  CHECK(entry.method == BootMethod::kGrub);
  CHECK(entry.is_default);
  CHECK(entry.id == "id");
  CHECK(entry.title == "title");
  CHECK(entry.where == "partition 1");
  CHECK(entry.kernel == "/vmlinuz");
  CHECK(entry.initrds == std::vector<std::string>{"/a", "/b"});
  CHECK(entry.command_line == "root=/dev/vda1");
}

TEST_CASE("Answer: an error comes back with its kind and its text", "[bootfind]") {
  Result<Answer> back =
      decode_answer(encode_answer(fail(ErrorKind::kNotFound, "no kernel\x1b[0m")));
  REQUIRE_FALSE(back.has_value());
  CHECK(back.error().kind() == ErrorKind::kNotFound);
  CHECK(back.error().message() == "no kernel?[0m");
}

TEST_CASE("Answer: cut off anywhere, or longer than it says, it is refused", "[bootfind]") {
  const std::string whole = encode_answer(example());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CHECK_FALSE(decode_answer(whole.substr(0, length)).has_value());
  }
  CHECK_FALSE(decode_answer(whole + "x").has_value());
}

TEST_CASE("Answer: numbers out of range are refused", "[bootfind]") {
  const std::string whole = encode_answer(example());
  for (std::size_t at = 0; at + 4 <= 24; at += 4) {
    std::string changed = whole;
    changed.replace(at, 4, "\xff\xff\xff\x7f");
    INFO("at " << at);
    CHECK_FALSE(decode_answer(changed).has_value());
  }
  Answer wrong = example();
  wrong.chosen = 2;
  CHECK_FALSE(decode_answer(encode_answer(wrong)).has_value());
}

}  // namespace vmm::bootfind
