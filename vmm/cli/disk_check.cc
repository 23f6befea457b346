// SPDX-License-Identifier: Apache-2.0
// `vmm disk check`: qemu-img check's options.
#include <string>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/check_tool.h"

namespace vmm::cli {

Result<int> disk_check_command(const Arguments& arguments) {
  CommandLine app(
      "Looks whether an image contradicts itself. Exit status: 0 no, 1 the check failed, 2 "
      "corrupt, "
      "3 leaked clusters, 63 the format has nothing to check");
  tools::CheckConfig config;
  bool quiet = false;
  app.add_option("-f", config.image.format, "The image's format: raw, qcow, qcow2");
  app.add_option("--output", config.output, "human or json");
  app.add_option("-r", config.repair, "Repair: leaks, or all");
  app.add_flag("-q", quiet, "Print errors only");
  std::string cache;
  app.add_option("-T", cache, "Accepted, and has no effect");
  app.add_flag("-U,--force-share", config.image.force_share,
               "Although another process may be writing the image");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  if (!read_names(console, {&config.image})) return kExitFailure;
  return tools::run_check(config, console);
}

}  // namespace vmm::cli
