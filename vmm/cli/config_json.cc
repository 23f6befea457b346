// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/config_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

namespace vmm::cli {
namespace {

using Json = nlohmann::json;

// Characters, and in `line` the line that the last one read is on.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t& line) : at_(at), line_(&line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (*at_ == '\n') ++*line_;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* line_;
};

// Takes the parser's events, so that nothing of the file is kept but what has its place; the
// parser does not recurse.
class Reader : public nlohmann::json_sax<Json> {
 public:
  using Kind = ConfigValue::Kind;

  explicit Reader(const std::size_t& line) : line_(line) {}

  bool null() override { return value(Kind::kNull, "null"); }
  bool boolean(bool value_read) override {
    return value(Kind::kBool, value_read ? "true" : "false");
  }
  bool number_integer(number_integer_t number) override {
    return value(Kind::kNumber, std::to_string(number));
  }
  bool number_unsigned(number_unsigned_t number) override {
    return value(Kind::kNumber, std::to_string(number));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return value(Kind::kNumber, text);
  }
  bool string(string_t& text) override { return value(Kind::kString, text); }
  bool binary(binary_t&) override { return refuse(line_, "binary data has no place here"); }

  bool start_object(std::size_t) override {
    if (open_ == Open::kNothing) {
      open_ = Open::kObject;
      return true;
    }
    if (members.empty()) return refuse_top();
    return refuse(members.back().line,
                  fmt::format("'{}' must not be an object", members.back().name));
  }
  bool end_object() override { return true; }

  bool key(string_t& name) override {
    const bool is_there = std::any_of(members.begin(), members.end(),
                                      [&](const ConfigMember& each) { return each.name == name; });
    if (is_there) return refuse(line_, fmt::format("'{}' is there twice", name));
    members.push_back({name, line_, false, {}});
    return true;
  }

  bool start_array(std::size_t) override {
    if (open_ == Open::kNothing) return refuse_top();
    ConfigMember& member = members.back();
    if (open_ == Open::kArray) {
      return refuse(member.line, fmt::format("'{}' has an array in an array", member.name));
    }
    open_ = Open::kArray;
    member.is_array = true;
    return true;
  }
  bool end_array() override {
    open_ = Open::kObject;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 2, column 9: syntax error while ..."
    const std::string_view text = error.what();
    constexpr std::string_view kBefore = "parse error at ";
    const std::size_t found = text.find(kBefore);
    const std::string_view rest = found == text.npos ? text : text.substr(found + kBefore.size());
    if (rest.starts_with("line")) {
      failure = rest;
      return false;
    }
    return refuse(line_, std::string(rest));
  }

  std::vector<ConfigMember> members;
  std::string failure;

 private:
  enum class Open { kNothing, kObject, kArray };

  bool refuse(std::size_t line, const std::string& why) {
    failure = fmt::format("line {}: {}", line, why);
    return false;
  }
  bool refuse_top() { return refuse(line_, "expected one object, {...}"); }

  bool value(Kind kind, std::string text) {
    if (open_ == Open::kNothing) return refuse_top();
    members.back().values.push_back({kind, std::move(text)});
    return true;
  }

  const std::size_t& line_;
  Open open_ = Open::kNothing;
};

}  // namespace

Result<std::vector<ConfigMember>> parse_config_json(std::string_view text) {
  std::size_t line = 1;
  Reader reader(line);
  const CountingIterator begin(text.data(), line), end(text.data() + text.size(), line);
  const bool good = Json::sax_parse(begin, end, &reader, nlohmann::detail::input_format_t::json,
                                    /*strict=*/true, /*ignore_comments=*/true);
  if (good) return std::move(reader.members);
  return fail(ErrorKind::kInvalid, reader.failure);
}

}  // namespace vmm::cli
