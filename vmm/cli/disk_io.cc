// SPDX-License-Identifier: Apache-2.0
// `vmm disk io`: qemu-io's options.
#include <string>
#include <vector>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/io/event_loop.h"
#include "vmm/tools/io_shell.h"

namespace vmm::cli {

namespace {

struct IoArguments {
  std::vector<std::string> commands;
  std::string image;
  std::string cache;
  std::string discard;
  std::string aio;
  std::string trace;
  std::string object;
  tools::ImageOptions options;
  bool no_cache = false;
  bool misalign = false;
  bool copy_on_read = false;
  bool native_aio = false;
  bool image_opts = false;
};

void declare(CommandLine& app, IoArguments& arguments) {
  app.footer("Without -c, commands come from standard input. -c help lists them.");
  app.add_option("-c,--cmd", arguments.commands, "Run this command; may be repeated")
      ->allow_extra_args(false);
  app.add_option("-f,--format", arguments.options.format, "The image's format: raw, qcow, qcow2");
  app.add_flag("-r,--read-only", arguments.options.read_only, "Open it for reading only");
  app.add_flag("-s,--snapshot", arguments.options.snapshot,
               "Write to a temporary file, and drop that at the end");
  app.add_flag("-n,--nocache", arguments.no_cache, "The same as -t none");
  app.add_flag("-m,--misalign", arguments.misalign, "Use buffers that are not aligned");
  app.add_flag("-C,--copy-on-read", arguments.copy_on_read, "Refused: there is no copy on read");
  app.add_flag("-k,--native-aio", arguments.native_aio, "Accepted, and has no effect");
  app.add_option("-i,--aio", arguments.aio, "Accepted, and has no effect");
  app.add_option("-t,--cache", arguments.cache,
                 "writeback, writethrough, none, directsync or unsafe");
  app.add_option("-d,--discard", arguments.discard, "What discards do: unmap or ignore");
  app.add_option("-T,--trace", arguments.trace, "Accepted, and has no effect");
  app.add_flag("-U,--force-share", arguments.options.force_share,
               "Look at it (with -r) although another process may be writing it");
  app.add_flag("--image-opts", arguments.image_opts,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("--object", arguments.object, "Refused: there are no objects");
  app.add_option("IMAGE", arguments.image, "The image to work on; `open` opens one later");
}

Result<void> apply(IoArguments& arguments) {
  tools::ImageOptions& options = arguments.options;
  if (arguments.copy_on_read) {
    return fail(ErrorKind::kUnsupported, "-C: copy on read is not supported");
  }
  if (!arguments.object.empty()) {
    return fail(ErrorKind::kUnsupported, "--object: objects are not supported");
  }
  if (arguments.no_cache) options.cache = {.direct = true};
  if (!arguments.cache.empty()) {
    const auto mode = tools::parse_cache_mode(arguments.cache);
    if (!mode) return fail(ErrorKind::kInvalid, "Invalid cache option: " + arguments.cache);
    options.cache = *mode;
  }
  if (!arguments.discard.empty() && !tools::parse_discard_mode(arguments.discard, options)) {
    return fail(ErrorKind::kInvalid, "Invalid discard option: " + arguments.discard);
  }
  if (!arguments.aio.empty() && !tools::is_aio_mode(arguments.aio)) {
    return fail(ErrorKind::kInvalid, "Invalid aio option: " + arguments.aio);
  }
  if (arguments.image_opts) return tools::parse_driver_options(arguments.image, options);
  options.path = arguments.image;
  return {};
}

}  // namespace

Result<int> disk_io_command(const Arguments& arguments) {
  if (!arguments.values.empty() && is_version_flag(arguments.values[0])) {
    return print_version(arguments.program);
  }
  CommandLine app("Reads, writes and inspects an image by short commands, in qemu-io's language");
  IoArguments io;
  declare(app, io);
  if (const auto status = parse_tool(app, arguments)) return *status;

  tools::Console console{.program = arguments.speaker()};
  if (const Result<void> applied = apply(io); !applied) {
    console.error(applied.error());
    return kExitFailure;
  }
  VMM_TRY(const auto loop, EventLoop::create());
  tools::IoShell shell(*loop, console, {.misalign = io.misalign});
  if (!io.options.path.empty() && !shell.open(io.options)) return kExitFailure;
  bool ok = true;
  for (const std::string& command : io.commands) {
    if (shell.quit_asked()) break;
    ok &= shell.run_line(command);
  }
  if (io.commands.empty()) ok = shell.run_script();
  ok &= shell.close();
  return ok ? kExitSuccess : kExitFailure;
}

}  // namespace vmm::cli
