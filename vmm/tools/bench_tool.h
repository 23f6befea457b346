// SPDX-License-Identifier: Apache-2.0
// `vmm disk bench`: reads the words of its command line, opens the image, runs the benchmark and
// prints what it found.
#pragma once

#include <string>

#include "vmm/core/result.h"
#include "vmm/tools/console.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

// As given; empty where not.
struct BenchToolConfig {
  ImageOptions image;
  std::string count;
  std::string depth;
  std::string buffer_size;
  std::string step;
  std::string offset;
  std::string pattern;
  std::string flush_interval;
  std::string cache;
  std::string aio;
  std::string random_seed;
  std::string driver_options;
  std::string output;
  bool native_aio = false;
  bool no_drain = false;
  bool quiet = false;
  bool write = false;
  bool random = false;
  bool latency = false;
};

// The exit status: 0, or 1 with a line on the console.
int run_bench_tool(const BenchToolConfig& config, const Console& console);

}  // namespace vmm::tools
