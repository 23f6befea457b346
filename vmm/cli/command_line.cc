// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdint>
#include <optional>
#include <vector>

namespace vmm::cli {

Option* Option::required() {
  option_->required();
  return this;
}

Option* Option::type_name(const char* name) {
  option_->type_name(name);
  return this;
}

Option* Option::capture_default_str() {
  option_->capture_default_str();
  return this;
}

Option* Option::default_str(const char* text) {
  option_->default_str(text);
  return this;
}

Option* Option::allow_extra_args(bool allowed) {
  option_->allow_extra_args(allowed);
  return this;
}

Option* Option::expected(int least, int most) {
  option_->expected(least, most);
  return this;
}

Option* Option::one_of(std::initializer_list<const char*> words) {
  option_->check(CLI::IsMember(std::vector<std::string>(words.begin(), words.end())));
  return this;
}

Option* Option::in_range(unsigned least, unsigned most) {
  option_->check(CLI::Range(least, most));
  return this;
}

Option* Option::in_range(double least, double most) {
  option_->check(CLI::Range(least, most));
  return this;
}

Option* Option::existing_directory() {
  option_->check(CLI::ExistingDirectory);
  return this;
}

Option* Option::needs(Option* other) {
  option_->needs(other->option_);
  return this;
}

Option* Option::excludes(Option* other) {
  option_->excludes(other->option_);
  return this;
}

bool Option::given() const {
  return option_->count() > 0;
}

CommandLine::CommandLine(const std::string& about) : app_(std::make_unique<CLI::App>(about)) {
}

CommandLine::~CommandLine() = default;

void CommandLine::footer(const std::string& text) {
  app_->footer(text);
}

template <class Value>
Option* CommandLine::add_option(const std::string& names, Value& value, const std::string& help) {
  return &options_.emplace_back(app_->add_option(names, value, help));
}

template <class Value>
Option* CommandLine::add_flag(const std::string& names, Value& value, const std::string& help) {
  return &options_.emplace_back(app_->add_flag(names, value, help));
}

template Option* CommandLine::add_option(const std::string&, std::string&, const std::string&);
template Option* CommandLine::add_option(const std::string&, std::optional<std::string>&,
                                         const std::string&);
template Option* CommandLine::add_option(const std::string&, std::vector<std::string>&,
                                         const std::string&);
template Option* CommandLine::add_option(const std::string&, int&, const std::string&);
template Option* CommandLine::add_option(const std::string&, std::uint32_t&, const std::string&);
template Option* CommandLine::add_option(const std::string&, std::uint64_t&, const std::string&);
template Option* CommandLine::add_option(const std::string&, double&, const std::string&);
template Option* CommandLine::add_option(const std::string&, std::optional<std::uint16_t>&,
                                         const std::string&);
template Option* CommandLine::add_option(const std::string&, std::optional<std::uint32_t>&,
                                         const std::string&);
template Option* CommandLine::add_option(const std::string&, std::optional<std::uint64_t>&,
                                         const std::string&);
template Option* CommandLine::add_flag(const std::string&, bool&, const std::string&);

}  // namespace vmm::cli
