// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/disk.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace vmm::cli {

namespace {

constexpr Command kCommands[] = {
    {"bench", "Measure how fast an image serves requests", disk_bench_command},
    {"check", "Look whether an image contradicts itself, and repair it", disk_check_command},
    {"commit", "Write what an overlay changed into its backing file", disk_commit_command},
    {"compare", "Look whether two images hold the same", disk_compare_command},
    {"convert", "Copy images into a new one, in any format", disk_convert_command},
    {"create", "Make an empty image", disk_create_command},
    {"info", "Tell what an image says of itself", disk_info_command},
    {"io", "Read and write an image by short commands, like qemu-io", disk_io_command},
    {"map", "List where the bytes of an image are stored", disk_map_command},
    {"rebase", "Give an overlay another backing file", disk_rebase_command},
    {"resize", "Change the virtual size of an image", disk_resize_command},
    {"snapshot", "List, make, apply and delete snapshots inside an image", disk_snapshot_command},
};

}  // namespace

Result<int> disk_command(const Arguments& arguments) {
  return dispatch("Makes, inspects, converts and exercises disk images.", kCommands, arguments);
}

std::optional<int> parse_tool(CLI::App& app, const Arguments& arguments) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 1) {
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
  }
  const std::optional<int> status = parse(app, arguments);
  return status == kExitUsage ? kExitFailure : status;
}

}  // namespace vmm::cli
