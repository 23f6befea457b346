// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/disk.h"

namespace vmm::cli {

namespace {

constexpr Command kCommands[] = {
    {"bench", "Measure how fast an image serves requests", disk_bench_command},
    {"io", "Read and write an image by short commands, like qemu-io", disk_io_command},
};

}  // namespace

Result<int> disk_command(const Arguments& arguments) {
  return dispatch("Makes, inspects, converts and exercises disk images.", kCommands, arguments);
}

std::optional<int> parse_tool(CLI::App& app, const Arguments& arguments) {
  const std::optional<int> status = parse(app, arguments);
  return status == kExitUsage ? kExitFailure : status;
}

}  // namespace vmm::cli
