// SPDX-License-Identifier: Apache-2.0
// `vmm disk`: the image tools, spoken like qemu-img and qemu-io.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "vmm/cli/command.h"
#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::cli {

Result<int> disk_command(const Arguments& arguments);

// One file each: disk_NAME.cc.
Result<int> disk_bench_command(const Arguments& arguments);
Result<int> disk_check_command(const Arguments& arguments);
Result<int> disk_commit_command(const Arguments& arguments);
Result<int> disk_compare_command(const Arguments& arguments);
Result<int> disk_convert_command(const Arguments& arguments);
Result<int> disk_create_command(const Arguments& arguments);
Result<int> disk_dd_command(const Arguments& arguments);
Result<int> disk_info_command(const Arguments& arguments);
Result<int> disk_io_command(const Arguments& arguments);
Result<int> disk_map_command(const Arguments& arguments);
Result<int> disk_measure_command(const Arguments& arguments);
Result<int> disk_rebase_command(const Arguments& arguments);
Result<int> disk_resize_command(const Arguments& arguments);
Result<int> disk_snapshot_command(const Arguments& arguments);

// `-V` and `--version` of the tools. A link named qemu-img or qemu-io answers in the form that
// scripts read, with the version whose options it takes.
bool is_version_flag(std::string_view word);
int print_version(std::string_view program);

// Reads the names of images in the forms of qemu-img; prints why where that fails.
bool read_names(const tools::Console& console, std::initializer_list<tools::ImageOptions*> images);

// parse() for tools whose callers know qemu-img's exit statuses: a wrong command line is 1 there,
// and 2 and more mean what was found. Of an option given twice the last counts, so that a script
// can put its own behind those that it was handed. Long options may be abbreviated.
std::optional<int> parse_tool(CLI::App& app, const Arguments& arguments);

}  // namespace vmm::cli
