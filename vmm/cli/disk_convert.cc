// SPDX-License-Identifier: Apache-2.0
// `vmm disk convert`: qemu-img convert's options.
#include <unistd.h>

#include <cstdio>
#include <string>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/convert_tool.h"

namespace vmm::cli {

Result<int> disk_convert_command(const Arguments& arguments) {
  CommandLine app("Copies images into a new one, in any format, without what is zeros");
  tools::ConvertConfig config;
  bool quiet = false;
  bool copy_range = false;
  app.add_option("-f", config.source_format, "Format of the sources");
  app.add_option("-O", config.target_format, "Format of the target: raw (default) or qcow2");
  app.add_option("-o", config.options, "Options of the target's format")->allow_extra_args(false);
  app.add_option("-B", config.backing_file, "Base image of the target");
  app.add_option("-F", config.backing_format, "Format of the base image");
  app.add_flag("-c", config.compressed, "Compress (qcow2)");
  app.add_flag("-C", copy_range, "Accepted, and has no effect");
  app.add_option("-m", config.nr_workers, "Requests under way at once, 1 to 16; 8 by default");
  app.add_flag("-W", config.out_of_order, "Writes may be started in any order");
  app.add_option("-S", config.sparse_size, "Zeros that are worth a hole; 4k by default, 0: none");
  app.add_option("-l", config.snapshot,
                 "A snapshot of the source: its id or name, or snapshot.id=ID,snapshot.name=NAME");
  app.add_option("-r", config.rate, "Copy at most so many bytes a second, as 10M");
  app.add_flag("--salvage", config.salvage, "What cannot be read becomes zeros, with a warning");
  app.add_flag("-n", config.no_create, "The target is there already");
  app.add_flag("--target-is-zero", config.target_is_zero, "With -n: and reads as zeros");
  app.add_option("-t", config.target_cache, "Cache mode of the target; unsafe by default");
  app.add_option("-T", config.source_cache, "Cache mode of the sources; writeback by default");
  app.add_flag("-p", config.progress, "Show how far it is; done on a terminal unless -q");
  app.add_flag("-q", quiet, "Print errors only");
  app.add_flag("-U,--force-share", config.force_share,
               "Although other processes may be writing the sources");
  app.add_flag("--image-opts", config.source_image_opts,
               "The sources' names are lists driver=...,file.filename=...");
  app.add_flag("--target-image-opts", config.target_image_opts,
               "With -n: the target's name is such a list");
  app.add_option("FILES", config.files, "The sources, then the target");
  if (const auto status = parse_tool(app, arguments)) return *status;
  config.progress |= isatty(fileno(stdout)) == 1;
  return tools::run_convert(config, tools::Console{.program = arguments.speaker(), .quiet = quiet});
}

}  // namespace vmm::cli
