// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "vmm/cli/commands.h"
#include "vmm/version.h"

namespace {

// Descriptors 0 to 2 that the caller closed: the next files opened would take their numbers, and
// the guest's console would be written to a disk image.
void fill_standard_descriptors() {
  int fd;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= 2);
  if (fd > 2) ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace vmm;
  fill_standard_descriptors();
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
