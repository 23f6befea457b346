// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/describe.h"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <vector>

#include "vmm/cli/commands.h"
#include "vmm/control/directory.h"
#include "vmm/version.h"

namespace vmm::cli {
namespace {

// A backslash, a hyphen and a line's first '.' or '\'' mean something in roff.
std::string roff(std::string_view text) {
  std::string out;
  for (char c : text) {
    const bool line_starts = out.empty() || out.back() == '\n';
    if (line_starts && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

std::string manual_head(const std::string& program, std::string about) {
  std::string page =
      fmt::format(".TH {} 1 \"\" \"vmm {}\" \"User Commands\"\n", dashed(program), kVersion);
  // The first sentence, as apropos(1) shows it.
  about = about.substr(0, about.find(". "));
  if (about.ends_with('.')) about.pop_back();
  return page + fmt::format(".SH NAME\n{} \\- {}\n", dashed(program), roff(about));
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::string describe_option(const CLI::Option& option) {
  std::string names;
  for (const std::string& name : names_of(option)) {
    names += fmt::format("{}\\fB{}\\fR", names.empty() ? "" : ", ", roff(name));
  }
  if (names.empty()) names = fmt::format("\\fI{}\\fR", roff(option.get_name()));
  if (option.nonpositional() && takes_value(option)) {
    names += fmt::format(" \\fI{}\\fR", roff(option.get_type_name()));
  }
  std::string text = option.get_description();
  if (!option.get_default_str().empty() && takes_value(option)) {
    text += fmt::format(" (default: {})", option.get_default_str());
  }
  return fmt::format(".TP\n{}\n{}.\n", names, roff(text));
}

// "{serial,virtio}", as a validator writes the words it takes.
std::vector<std::string> words_in_braces(const std::string& type) {
  std::vector<std::string> words;
  const std::size_t open = type.find('{'), close = type.find('}');
  if (open == type.npos || close == type.npos || close < open) return words;
  std::string_view rest(type);
  rest = rest.substr(open + 1, close - open - 1);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    words.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return words;
}

std::string matching(const std::vector<std::string>& words, std::string_view start) {
  std::string lines;
  for (const std::string& word : words) {
    if (word.starts_with(start)) lines += word + "\n";
  }
  return lines;
}

std::vector<std::string> running_machines() {
  std::vector<std::string> names;
  for (const std::string& directory : control::directories()) {
    for (std::string& name : control::names_in(directory)) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

std::string manual_page(const CLI::App& app, const std::string& program) {
  std::string page = manual_head(program, app.get_description());
  page += fmt::format(".SH SYNOPSIS\n\\fB{}\\fR [\\fIOPTION\\fR...]", roff(program));
  std::string options, positionals;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      const std::string name = fmt::format("\\fI{}\\fR", roff(option->get_name()));
      page += option->get_required() ? " " + name : " [" + name + "]";
      positionals += describe_option(*option);
    } else {
      options += describe_option(*option);
    }
  }
  page += fmt::format("\n.SH DESCRIPTION\n{}\n{}.SH OPTIONS\n{}", roff(app.get_description()),
                      positionals, options);
  if (!app.get_footer().empty()) page += fmt::format(".SH NOTES\n{}\n", roff(app.get_footer()));
  return page;
}

std::string manual_page(std::string_view about, std::span<const Command> commands,
                        const std::string& program) {
  std::string page = manual_head(program, std::string(about));
  page += fmt::format(".SH SYNOPSIS\n\\fB{}\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]\n", program);
  page += fmt::format(".SH DESCRIPTION\n{}\n.SH COMMANDS\n", roff(about));
  for (const Command& command : commands) {
    page += fmt::format(".TP\n\\fB{}\\fR\n{}. See\n\\fB{}\\fR(1).\n", roff(command.name),
                        roff(command.summary), roff(dashed(program + " " + command.name)));
  }
  return page;
}

std::string completions(const CLI::App& app, std::string_view before, std::string_view word) {
  if (before.starts_with('-')) {
    const CLI::Option* option = app.get_option_no_throw(std::string(before));
    if (option != nullptr && takes_value(*option)) {
      return matching(words_in_braces(option->get_type_name()), word);
    }
  }
  std::vector<std::string> words;
  const bool wants_option = word.starts_with('-');
  for (const CLI::Option* option : app.get_options()) {
    if (wants_option) {
      for (std::string& name : names_of(*option)) words.push_back(std::move(name));
    } else if (option->get_positional() && option->get_name() == "NAME") {
      words = running_machines();
    }
  }
  return matching(words, word);
}

std::string completions(std::span<const Command> commands, std::string_view word) {
  std::vector<std::string> words;
  for (const Command& command : commands) words.emplace_back(command.name);
  return matching(words, word);
}

Result<int> complete_command(const Arguments& arguments) {
  std::vector<std::string> words(arguments.values.begin(), arguments.values.end());
  // Bash makes three words of "--console=serial".
  words.erase(std::remove(words.begin(), words.end(), "="), words.end());
  if (words.empty() || (arguments.values.back() == std::string_view("="))) words.emplace_back();
  const bool has_two_names = words.front() == "disk" || words.front() == "help";
  const std::size_t depth = std::min<std::size_t>(words.size() - 1, has_two_names ? 2 : 1);
  std::vector<std::string> asked(words.begin(), words.begin() + static_cast<long>(depth));
  if (depth > 0 && asked[0] == "help") asked.clear();  // `vmm help COMMAND`
  asked.emplace_back("--complete");
  asked.push_back(words.size() > 1 ? words[words.size() - 2] : "");
  asked.push_back(words.back());
  std::vector<char*> pointers;
  for (std::string& text : asked) pointers.push_back(text.data());
  return dispatch("", commands(), {"vmm", pointers});
}

}  // namespace vmm::cli
