// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <span>
#include <string_view>

#include "vmm/cli/commands.h"
#include "vmm/cli/describe.h"
#include "vmm/cli/disk.h"
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

// Scripts written for qemu-img and qemu-io want a program in their place: links of these names,
// which messages begin with.
vmm::Result<int> run(std::string_view program, std::span<char* const> values) {
  using namespace vmm::cli;
  if (program == "vmm-img" || program == "qemu-img")
    return disk_command({std::string(program), values});
  if (program == "vmm-io" || program == "qemu-io") {
    return disk_io_command({std::string(program), values});
  }
  if (!values.empty() && std::string_view(values[0]) == "--version") {
    fmt::print("vmm {}\n", vmm::kVersion);
    return kExitSuccess;
  }
  if (!values.empty() && values[0] == std::string_view("complete")) {
    return complete_command({"vmm complete", values.subspan(1)});
  }
  return dispatch("vmm runs virtual machines on Linux's KVM.", commands(), {"vmm", values});
}

}  // namespace

int main(int argc, char** argv) {
  using namespace vmm;
  fill_standard_descriptors();
  // A file that may not grow any more (ulimit -f) is an error of the write, not the end.
  ::signal(SIGXFSZ, SIG_IGN);
  std::span<char* const> values(argv, static_cast<std::size_t>(argc));
  std::string_view program = values.empty() ? "vmm" : values[0];
  program.remove_prefix(program.rfind('/') + 1);
  if (!values.empty()) values = values.subspan(1);
  Result<int> status = run(program, values);
  if (status) return *status;
  fmt::print(stderr, "vmm: {}\n", status.error().message());
  return cli::kExitFailure;
}
