// SPDX-License-Identifier: Apache-2.0
// `vmm disk commit`: qemu-img commit's options.
#include <string>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/commit_tool.h"

namespace vmm::cli {

Result<int> disk_commit_command(const Arguments& arguments) {
  CommandLine app("Writes what an overlay changed into its backing file, and empties it");
  tools::CommitConfig config;
  bool quiet = false;
  std::string cache;
  app.add_option("-f", config.image.format, "The image's format");
  app.add_option("-t", cache, "Cache mode: writeback, none ...");
  app.add_option("-b", config.base,
                 "The layer of the chain that takes the changes; IMAGE is not emptied");
  app.add_option("-r", config.rate, "Copy at most so many bytes a second, as 10M");
  app.add_flag("-d", config.keep, "Do not empty the overlay");
  app.add_flag("-p", config.progress, "Show how far it is");
  app.add_flag("-q", quiet, "Print errors only");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The overlay")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  if (!read_names(console, {&config.image})) return kExitFailure;
  if (!cache.empty()) {
    const auto mode = tools::parse_cache_mode(cache);
    if (!mode) {
      console.error("Invalid cache option: {}", cache);
      return kExitFailure;
    }
    config.image.cache = *mode;
  }
  return tools::run_commit(config, console);
}

}  // namespace vmm::cli
