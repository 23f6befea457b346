// SPDX-License-Identifier: Apache-2.0
// `vmm disk dd`: qemu-img dd's options and operands.
#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/dd_tool.h"

namespace vmm::cli {

Result<int> disk_dd_command(const Arguments& arguments) {
  CommandLine app("Copies a part of an image into a new one");
  app.footer(
      "The target is made anew. count= counts from the start of the source, as qemu-img has "
      "it: 'count=3 skip=1' copies two blocks.");
  tools::DdConfig config;
  app.add_option("-f", config.source.format, "The source's format: raw, qcow, qcow2");
  app.add_option("-O", config.target_format, "The target's format: raw (default), qcow, qcow2");
  app.add_flag("-U,--force-share", config.source.force_share,
               "Although another process may be writing the source");
  app.add_option("OPERANDS", config.operands, "if=SOURCE of=TARGET [bs=BYTES] [count=N] [skip=N]");
  if (const auto status = parse_tool(app, arguments)) return *status;
  return tools::run_dd(config, tools::Console{.program = arguments.speaker()});
}

}  // namespace vmm::cli
