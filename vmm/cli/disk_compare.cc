// SPDX-License-Identifier: Apache-2.0
// `vmm disk compare`: qemu-img compare's options.
#include <string>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/compare_tool.h"

namespace vmm::cli {

Result<int> disk_compare_command(const Arguments& arguments) {
  CommandLine app(
      "Looks whether a guest would see the same in two images. Exit status: 0 the same, 1 "
      "different, "
      "more: an image could not be read");
  tools::CompareConfig config;
  bool quiet = false;
  bool force_share = false;
  std::string cache;
  app.add_option("-f", config.first.format, "The first image's format");
  app.add_option("-F", config.second.format, "The second image's format");
  app.add_option("-T", cache, "Cache mode: writeback, none ...");
  app.add_flag("-s", config.strict, "Sizes and allocation must be the same too");
  app.add_flag("-p", config.progress, "Show how far it is");
  app.add_flag("-q", quiet, "Print errors only");
  app.add_flag("-U,--force-share", force_share, "Although other processes may be writing");
  app.add_flag("--image-opts", config.first.is_option_list,
               "Both names are lists driver=...,file.filename=...");
  app.add_option("IMAGE1", config.first.path, "The first image")->required();
  app.add_option("IMAGE2", config.second.path, "The second image")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  for (tools::ImageOptions* image : {&config.first, &config.second}) {
    image->force_share = force_share;
    if (cache.empty()) continue;
    const auto mode = tools::parse_cache_mode(cache);
    if (!mode) {
      console.error("Invalid source cache option: {}", cache);
      return kExitFailure;
    }
    image->cache = *mode;
  }
  config.second.is_option_list = config.first.is_option_list;
  if (!read_names(console, {&config.first, &config.second})) return kExitUsage;
  return tools::run_compare(config, console);
}

}  // namespace vmm::cli
