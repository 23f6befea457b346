// SPDX-License-Identifier: Apache-2.0
// `vmm disk`: the image tools, spoken like qemu-img and qemu-io.
#pragma once

#include <optional>
#include <string_view>

#include "vmm/cli/command.h"

namespace vmm::cli {

Result<int> disk_command(const Arguments& arguments);

// One file each: disk_NAME.cc.
Result<int> disk_bench_command(const Arguments& arguments);
Result<int> disk_check_command(const Arguments& arguments);
Result<int> disk_commit_command(const Arguments& arguments);
Result<int> disk_compare_command(const Arguments& arguments);
Result<int> disk_convert_command(const Arguments& arguments);
Result<int> disk_create_command(const Arguments& arguments);
Result<int> disk_info_command(const Arguments& arguments);
Result<int> disk_io_command(const Arguments& arguments);
Result<int> disk_map_command(const Arguments& arguments);
Result<int> disk_rebase_command(const Arguments& arguments);
Result<int> disk_resize_command(const Arguments& arguments);
Result<int> disk_snapshot_command(const Arguments& arguments);

// parse() for tools whose callers know qemu-img's exit statuses: a wrong command line is 1 there,
// and 2 and more mean what was found. Of an option given twice the last counts, so that a script
// can put its own behind those that it was handed.
std::optional<int> parse_tool(CLI::App& app, const Arguments& arguments);

}  // namespace vmm::cli
