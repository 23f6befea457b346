// SPDX-License-Identifier: Apache-2.0
// `vmm disk map`: qemu-img map's options.

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/map_tool.h"

namespace vmm::cli {

Result<int> disk_map_command(const Arguments& arguments) {
  CommandLine app("Lists where the bytes of an image are stored");
  tools::MapConfig config;
  app.add_option("-f", config.image.format, "The image's format: raw, qcow, qcow2");
  app.add_option("--output", config.output, "human or json");
  app.add_option("-s,--start-offset", config.start, "Where to begin");
  app.add_option("-l,--max-length", config.length, "How many bytes to look at");
  app.add_flag("-U,--force-share", config.image.force_share,
               "Although another process may be writing the image");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker()};
  if (!read_names(console, {&config.image})) return kExitFailure;
  return tools::run_map(config, console);
}

}  // namespace vmm::cli
