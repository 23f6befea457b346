// SPDX-License-Identifier: Apache-2.0
// `vmm disk info`: qemu-img info's options.

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/info_tool.h"

namespace vmm::cli {

Result<int> disk_info_command(const Arguments& arguments) {
  CommandLine app("Tells what an image says of itself, and opens nothing that it names");
  tools::InfoConfig config;
  app.add_option("-f", config.image.format, "The image's format: raw, qcow, qcow2");
  app.add_option("--output", config.output, "human or json");
  app.add_flag("--backing-chain", config.backing_chain, "The backing files it names, too");
  app.add_flag("-U,--force-share", config.image.force_share,
               "Although another process may be writing the image");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker()};
  if (!read_names(console, {&config.image})) return kExitFailure;
  return tools::run_info(config, console);
}

}  // namespace vmm::cli
