// SPDX-License-Identifier: Apache-2.0
// `vmm disk rebase`: qemu-img rebase's options.
#include <string>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/rebase_tool.h"

namespace vmm::cli {

Result<int> disk_rebase_command(const Arguments& arguments) {
  CommandLine app("Gives an overlay another backing file, without a change for the guest");
  tools::RebaseConfig config;
  bool quiet = false;
  std::string cache;
  std::string source_cache;
  app.add_option("-f", config.image.format, "The image's format");
  const Option* backing =
      app.add_option("-b", config.backing_file, "The new backing file; '' or left out for none");
  app.add_option("-F", config.backing_format, "Its format");
  app.add_flag("-u", config.unsafe, "Change the name only: both hold the same");
  app.add_option("-t", cache, "Cache mode of the image: writeback, none ...");
  app.add_option("-T", source_cache, "Cache mode of the backing file");
  app.add_flag("-U,--force-share", config.force_share,
               "Although other processes may be writing the backing file");
  app.add_flag("-p", config.progress, "Show how far it is");
  app.add_flag("-q", quiet, "Print errors only");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The overlay")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  config.names_backing = backing->given();
  const tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  if (!read_names(console, {&config.image})) return kExitFailure;
  const auto apply = [&](const std::string& word, tools::CacheMode& to) {
    if (word.empty()) return true;
    const auto mode = tools::parse_cache_mode(word);
    if (mode) to = *mode;
    if (!mode) console.error("Invalid cache option: {}", word);
    return mode.has_value();
  };
  if (!apply(cache, config.image.cache) || !apply(source_cache, config.source_cache)) {
    return kExitFailure;
  }
  return tools::run_rebase(config, console);
}

}  // namespace vmm::cli
