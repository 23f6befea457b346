// SPDX-License-Identifier: Apache-2.0
// `vmm disk resize`: qemu-img resize's options.
#include <string>
#include <string_view>
#include <vector>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/resize_tool.h"

namespace vmm::cli {

namespace {

// "-1G" is a size, and would be read as an option: it is put behind "--", with what is there.
std::vector<char*> with_sizes_last(std::span<char* const> values, std::string& separator) {
  std::vector<char*> sorted;
  std::vector<char*> last;
  bool after_separator = false;
  for (char* value : values) {
    const bool negative = value[0] == '-' && value[1] >= '0' && value[1] <= '9';
    const bool separates = !after_separator && value == std::string_view("--");
    if (!separates) (after_separator || negative ? last : sorted).push_back(value);
    after_separator |= separates;
  }
  if (!last.empty()) sorted.push_back(separator.data());
  sorted.insert(sorted.end(), last.begin(), last.end());
  return sorted;
}

}  // namespace

Result<int> disk_resize_command(const Arguments& arguments) {
  CommandLine app("Changes the virtual size of an image");
  tools::ResizeConfig config;
  bool quiet = false;
  app.add_option("-f", config.image.format, "The image's format: raw, qcow, qcow2");
  app.add_option("--preallocation", config.preallocation, "off, metadata (qcow2), falloc or full");
  app.add_flag("--shrink", config.shrink, "The image may become smaller; what is cut off is lost");
  app.add_flag("-q", quiet, "Print errors only");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image")->required();
  app.add_option("SIZE", config.size, "20G, or a change: +1G, -1G")->required();
  std::string separator = "--";
  const std::vector<char*> values = with_sizes_last(arguments.values, separator);
  if (const auto status = parse_tool(app, {arguments.program, values})) return *status;
  const tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  if (!read_names(console, {&config.image})) return kExitFailure;
  return tools::run_resize(config, console);
}

}  // namespace vmm::cli
