// SPDX-License-Identifier: Apache-2.0
// `vmm disk bench`: qemu-img bench's options, and a few more.
#include <string>

#include "vmm/cli/command_line.h"
#include "vmm/cli/disk.h"
#include "vmm/tools/bench_tool.h"

namespace vmm::cli {

Result<int> disk_bench_command(const Arguments& arguments) {
  CommandLine app("Sends requests to an image as fast as it takes them, and measures");
  tools::BenchToolConfig config;
  app.add_option("-c", config.count, "Requests to send; 75000 by default");
  app.add_option("-d", config.depth, "Requests in flight at once; 64 by default");
  app.add_option("-f", config.image.format, "The image's format: raw, qcow, qcow2");
  app.add_option("--flush-interval", config.flush_interval, "Flush after this many writes");
  app.add_option("-i", config.aio, "Accepted, and has no effect");
  app.add_flag("-n", config.native_aio, "Accepted, and has no effect");
  app.add_flag("--no-drain", config.no_drain,
               "Flush while other requests are in flight, instead of waiting for them first");
  app.add_option("-o", config.offset, "Where the first request goes; 0 by default");
  app.add_option("--pattern", config.pattern, "The byte that writes write; 0 by default");
  app.add_flag("-q", config.quiet, "Accepted, as qemu-img does");
  app.add_option("-s", config.buffer_size, "Bytes of a request; 4k by default");
  app.add_option("-S", config.step, "Bytes from one request to the next; as -s by default");
  app.add_option("-t", config.cache, "writeback, writethrough, none, directsync or unsafe");
  app.add_flag("-w", config.write, "Write, instead of read");
  app.add_flag("-U", config.image.force_share, "Although another process may be writing the image");
  const Option* random =
      app.add_option("--random", config.random_seed,
                     "Send requests to random multiples of the step; =SEED repeats a run")
          ->expected(0, 1)
          ->default_str("");
  app.add_option("--cache-options", config.driver_options,
                 "Options of the format, as l2-cache-size=1M,l2-cache-entry-size=4k");
  app.add_flag("--latency", config.latency, "Measure each request, and print percentiles");
  app.add_option("--output", config.output, "human, or json: with latencies and cache counters");
  app.add_flag("--image-opts", config.image.is_option_list,
               "IMAGE is a list driver=...,file.filename=...");
  app.add_option("IMAGE", config.image.path, "The image")->required();
  if (const auto status = parse_tool(app, arguments)) return *status;
  config.random = random->given();
  const tools::Console console{.program = arguments.speaker()};
  if (!read_names(console, {&config.image})) return kExitFailure;
  return tools::run_bench_tool(config, console);
}

}  // namespace vmm::cli
