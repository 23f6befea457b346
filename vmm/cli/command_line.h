// SPDX-License-Identifier: Apache-2.0
// The options of one command: CLI11 behind the few calls that a subcommand's file needs, so that
// such a file is compiled in a third of the time. Names, help and errors are CLI11's.
#pragma once

#include <deque>
#include <initializer_list>
#include <memory>
#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace vmm::cli {

// Each call gives the option itself, so that calls can follow each other.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option* required();
  Option* type_name(const char* name);     // what help calls the value
  Option* capture_default_str();           // help shows what the variable holds now
  Option* default_str(const char* text);   // help shows this
  Option* allow_extra_args(bool allowed);  // whether one -x takes several values
  Option* expected(int least, int most);   // how many values it takes
  Option* one_of(std::initializer_list<const char*> words);
  Option* in_range(unsigned least, unsigned most);
  Option* in_range(double least, double most);
  Option* existing_directory();
  Option* needs(Option* other);
  Option* excludes(Option* other);
  bool given() const;  // on the command line that was parsed

 private:
  CLI::Option* option_;
};

class CommandLine {
 public:
  explicit CommandLine(const std::string& about);
  ~CommandLine();

  // `names` is "-k,--kernel", or "FILE" for an argument by its place. The types of `value` that
  // there are: command_line.cc lists them.
  template <class Value>
  Option* add_option(const std::string& names, Value& value, const std::string& help);
  template <class Value>
  Option* add_flag(const std::string& names, Value& value, const std::string& help);
  void footer(const std::string& text);  // the end of the help

  // For who parses it or describes it (command.h, describe.h, config_file.h).
  operator CLI::App&() { return *app_; }  // NOLINT(google-explicit-constructor)

 private:
  std::unique_ptr<CLI::App> app_;
  std::deque<Option> options_;
};

}  // namespace vmm::cli
