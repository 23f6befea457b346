// SPDX-License-Identifier: Apache-2.0
// `vmm disk create`: qemu-img create's options.

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/create_tool.h"

namespace vmm::cli {

Result<int> disk_create_command(const Arguments& arguments) {
  CommandLine app("Makes an empty image");
  app.footer("-o help lists the options of a format.");
  tools::CreateConfig config;
  bool quiet = false;
  app.add_option("-f", config.format, "Format: raw (default) or qcow2");
  const Option* backing =
      app.add_option("-b", config.backing_file, "Base image that it shows until it is written");
  app.add_option("-F", config.backing_format, "Format of the base image");
  app.add_option("-o", config.options, "Options of the format, as name=value,...")
      ->allow_extra_args(false);
  app.add_flag("-u", config.unsafe, "Do not look at the base image");
  app.add_flag("-q", quiet, "Print errors only");
  app.add_option("FILE", config.path, "The image to make");
  app.add_option("SIZE", config.size, "Virtual size, as 20G; the base image's where left out");
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  if (backing->given() && config.backing_file.empty()) {
    console.error("{}: Expected backing file name, got empty string", config.path);
    return kExitFailure;
  }
  return tools::run_create(config, console);
}

}  // namespace vmm::cli
