// SPDX-License-Identifier: Apache-2.0
// A directory for sockets that goes away with the test.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "vmm/core/testing/catch.h"

namespace vmm::control::testing {

class Directory {
 public:
  Directory() { REQUIRE(::mkdtemp(path_) != nullptr); }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/vmm-control-XXXXXX";
};

}  // namespace vmm::control::testing
