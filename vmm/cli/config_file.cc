// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/config_file.h"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "vmm/cli/config_json.h"
#include "vmm/cli/read_file.h"

namespace vmm::cli {
namespace {

using Kind = ConfigValue::Kind;

// What a run is told to do, and no part of a machine.
constexpr std::string_view kNotInFiles[] = {"help", "config", "print-config", "dry-run"};

bool is_flag(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}
bool is_list(const CLI::Option& option) {
  return option.get_items_expected_max() > 1;
}
bool takes_number(const CLI::Option& option) {
  // What a check takes may follow a ':', and what may stand behind the number a '['.
  const std::string type = option.get_type_name();
  const std::string_view name = std::string_view(type).substr(0, type.find_first_of(":["));
  return name == "N" || name == "PORT" || name == "SIZE";
}

// The name in files; empty where the option has none.
std::string name_in_files(const CLI::Option& option) {
  for (const std::string& name : option.get_lnames()) {
    const std::vector<std::string>& negated = option.get_fnames();
    if (std::find(negated.begin(), negated.end(), name) != negated.end()) continue;
    if (std::find(std::begin(kNotInFiles), std::end(kNotInFiles), name) == std::end(kNotInFiles)) {
      return name;
    }
  }
  return {};
}

const CLI::Option* find_option(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : app.get_options()) {
    if (!name.empty() && name_in_files(*option) == name) return option;
  }
  return nullptr;
}

std::string known_names(const CLI::App& app) {
  std::string known;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = name_in_files(*option);
    if (!name.empty()) known += (known.empty() ? "" : ", ") + name;
  }
  return known;
}

const char* expected_of(const CLI::Option& option) {
  if (is_flag(option)) return "true or false";
  if (is_list(option)) return "a string or an array of strings";
  return takes_number(option) ? "a whole number or a string" : "a string";
}

bool has_right_type(const CLI::Option& option, const ConfigMember& member) {
  if (member.is_array && !is_list(option)) return false;
  return std::all_of(member.values.begin(), member.values.end(), [&](const ConfigValue& value) {
    if (is_flag(option)) return value.kind == Kind::kBool;
    return value.kind == Kind::kString || (value.kind == Kind::kNumber && takes_number(option));
  });
}

// One member as arguments. Fails where the option would not take them.
Result<std::vector<std::string>> to_arguments(CLI::App& app, const ConfigMember& member) {
  const CLI::Option* option = find_option(app, member.name);
  if (option == nullptr) {
    return fail(ErrorKind::kInvalid, fmt::format("line {}: there is no '{}'; known are {}",
                                                 member.line, member.name, known_names(app)));
  }
  if (!has_right_type(*option, member)) {
    return fail(ErrorKind::kInvalid, fmt::format("line {}: '{}' must be {}", member.line,
                                                 member.name, expected_of(*option)));
  }
  std::vector<std::string> arguments;
  for (const ConfigValue& value : member.values) {
    arguments.push_back(fmt::format("--{}={}", member.name, value.text));
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kInvalid, fmt::format("line {}: {}", member.line, error.what()));
  }
  return arguments;
}

// A value as JSON has it: a number only where reading it gives the same text.
nlohmann::ordered_json to_json(const CLI::Option& option, const std::string& text) {
  const bool is_number = takes_number(option) && !text.empty() && text.size() < 19 &&
                         (text[0] != '0' || text.size() == 1) &&
                         text.find_first_not_of("0123456789") == text.npos;
  if (is_number) return std::stoull(text);
  return text;
}

}  // namespace

Result<std::vector<std::string>> with_config_file(CLI::App& app, const std::string& path,
                                                  std::span<char* const> given) {
  std::vector<std::string> has_been_given;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() > 0 && !is_list(*option)) has_been_given.push_back(name_in_files(*option));
  }
  VMM_TRY(const std::string text, read_file(path, kMaxConfigFile));
  Result<std::vector<ConfigMember>> members = parse_config_json(text);
  if (!members) return Unexpected(std::move(members).error().with_context(path));
  std::vector<std::string> all;
  for (const ConfigMember& member : *members) {
    Result<std::vector<std::string>> arguments = to_arguments(app, member);
    if (!arguments) return Unexpected(std::move(arguments).error().with_context(path));
    const bool overridden = std::find(has_been_given.begin(), has_been_given.end(), member.name) !=
                            has_been_given.end();
    if (!overridden) all.insert(all.end(), arguments->begin(), arguments->end());
  }
  all.insert(all.end(), given.begin(), given.end());
  return all;
}

Result<std::string> to_config_file(const CLI::App& app) {
  nlohmann::ordered_json file = nlohmann::ordered_json::object();
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = name_in_files(*option);
    if (name.empty()) continue;
    if (is_flag(*option)) {
      const std::string text = option->count() > 0 ? option->results().back() : "";
      const std::string& standing = text.empty() ? option->get_default_str() : text;
      file[name] = !standing.empty() && CLI::detail::to_flag_value(standing) > 0;
    } else if (is_list(*option)) {
      file[name] = option->count() > 0 ? option->results() : std::vector<std::string>();
    } else if (option->count() > 0) {
      file[name] = to_json(*option, option->results().back());
    } else if (!option->get_default_str().empty()) {
      file[name] = to_json(*option, option->get_default_str());
    }
  }
  try {
    return file.dump(2) + "\n";
  } catch (const nlohmann::json::type_error&) {
    return fail(ErrorKind::kInvalid,
                "--print-config: a value is not UTF-8, which is all that JSON can tell");
  }
}

}  // namespace vmm::cli
