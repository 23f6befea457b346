// SPDX-License-Identifier: Apache-2.0
// Console: where a tool reads its commands and prints, and by which name it speaks of itself.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <string>
#include <utility>

#include "vmm/core/result.h"

namespace vmm::tools {

struct Console {
  std::string program = "vmm disk";  // what error lines begin with
  std::FILE* in = stdin;
  std::FILE* out = stdout;
  std::FILE* err = stderr;
  bool quiet = false;  // print() says nothing

  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) const {
    if (!quiet) fmt::vprint(out, format, fmt::make_format_args(args...));
  }
  // "vmm disk: line\n" on the error stream.
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    fmt::print(err, "{}: {}\n", program, fmt::vformat(format, fmt::make_format_args(args...)));
  }
  void error(const Error& error) const { fmt::print(err, "{}: {}\n", program, error.message()); }
};

}  // namespace vmm::tools
