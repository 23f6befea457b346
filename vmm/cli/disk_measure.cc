// SPDX-License-Identifier: Apache-2.0
// `vmm disk measure`: qemu-img measure's options.
#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/measure_tool.h"

namespace vmm::cli {

Result<int> disk_measure_command(const Arguments& arguments) {
  CommandLine app("Tells how large the file of a new image will be, empty or as a copy");
  tools::MeasureConfig config;
  config.image.read_only = true;
  app.add_option("--size", config.size, "Virtual size of an image that is empty at first");
  app.add_option("-f", config.image.format, "The source's format: raw, qcow, qcow2");
  app.add_option("-O", config.target_format, "The new image's format: raw (default) or qcow2");
  app.add_option("-o", config.options, "Options of that format, as name=value,...")
      ->allow_extra_args(false);
  app.add_option("-l", config.snapshot,
                 "A snapshot of the source: its id or name, or snapshot.id=ID,snapshot.name=NAME");
  app.add_option("--output", config.output, "human or json");
  app.add_flag("-U,--force-share", config.image.force_share,
               "Although another process may be writing the source");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image to copy; not with --size");
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker()};
  if (!read_names(console, {&config.image})) return kExitFailure;
  return tools::run_measure(config, console);
}

}  // namespace vmm::cli
