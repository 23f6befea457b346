// SPDX-License-Identifier: Apache-2.0
// `vmm disk snapshot`: qemu-img snapshot's options.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "vmm/cli/disk.h"
#include "vmm/cli/steer_snapshot.h"
#include "vmm/tools/snapshot_tool.h"

namespace vmm::cli {

Result<int> disk_snapshot_command(const Arguments& arguments) {
  CLI::App app("Lists, makes, applies and deletes the snapshots inside an image");
  tools::SnapshotConfig config;
  bool quiet = false;
  bool list = false;
  app.add_option("-f", config.image.format, "The image's format: raw, qcow, qcow2");
  auto* actions = app.add_option_group("action");
  using Action = tools::SnapshotConfig::Action;
  actions->add_flag("-l", list, "List them; done where nothing else is asked for");
  const auto add = [&](const char* flag, Action action, const char* help) {
    actions->add_option_function<std::string>(
        flag,
        [&config, action](const std::string& name) {
          config.action = action;
          config.name = name;
        },
        help);
  };
  add("-c", Action::kCreate, "Make one of this name");
  add("-a", Action::kApply, "Go back to the one of this name or id");
  add("-d", Action::kDelete, "Delete the one of this name or id");
  actions->require_option(0, 1);
  app.add_flag("-q", quiet, "Print errors only");
  app.add_flag("-U,--force-share", config.image.force_share,
               "Although another process may be writing the image");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  const tools::Console console{.program = arguments.speaker(), .quiet = quiet};
  if (!read_names(console, {&config.image})) return kExitFailure;
  if (!config.image.force_share) {
    if (const auto running = machine_that_writes(config.image.path)) {
      return steer_snapshot(*running, config, console);
    }
  }
  return tools::run_snapshot(config, console);
}

}  // namespace vmm::cli
