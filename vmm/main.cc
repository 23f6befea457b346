// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <cstdio>
#include <string_view>

#include "vmm/cli/commands.h"
#include "vmm/version.h"

int main(int argc, char** argv) {
  using namespace vmm;
  std::span<char* const> values(argv, static_cast<std::size_t>(argc));
  if (!values.empty()) values = values.subspan(1);
  if (!values.empty() && std::string_view(values[0]) == "--version") {
    fmt::print("vmm {}\n", kVersion);
    return cli::kExitSuccess;
  }

  Result<int> status = cli::dispatch("vmm runs virtual machines on Linux's KVM.", cli::commands(),
                                     cli::Arguments{"vmm", values});
  if (status) return *status;
  fmt::print(stderr, "vmm: {}\n", status.error().message());
  return cli::kExitFailure;
}
