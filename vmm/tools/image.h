// SPDX-License-Identifier: Apache-2.0
// What the tools ask for when they open an image, and how its words are spelled on command lines.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "disk/disk.h"
#include "vmm/core/result.h"
#include "vmm/io/event_loop.h"
#include "vmm/io/task.h"
#include "vmm/tools/option_list.h"

namespace vmm::tools {

// The cache modes of qemu's command lines, as the three properties that they stand for.
struct CacheMode {
  bool direct = false;         // O_DIRECT
  bool write_through = false;  // every write is flushed before it is done
  bool no_flush = false;       // flushes are not carried out
};
// "writeback", "writethrough", "none", "off", "directsync", "unsafe".
Result<CacheMode> parse_cache_mode(std::string_view word);

struct ImageOptions {
  std::string path;             // as image_name.h has it
  bool is_option_list = false;  // `path` is what --image-opts takes
  std::string format;           // empty: found out by looking
  bool read_only = false;
  bool force_share = false;  // look at it although another process may be writing it
  bool snapshot = false;     // writes go to a temporary file
  bool discard_unmap = true;
  CacheMode cache;
  // What -o and --image-opts carry: "driver=qcow2,l2-cache-size=1M" without `driver` and `file`.
  std::map<std::string, std::string, std::less<>> driver_options;
};

// "driver=qcow2,file.filename=x,l2-cache-size=1M" into `options`: the driver is the format, the
// file the path, and the rest are driver_options. "a,,b" in a value stands for "a,b".
Result<void> parse_driver_options(std::string_view text, ImageOptions& options);
Result<void> apply_driver_list(const OptionList& list, ImageOptions& options);

// "unmap" or "on", "ignore" or "off"; false for another word.
bool parse_discard_mode(std::string_view word, ImageOptions& options);

// The words that qemu's -i knows. The engine itself chooses how it does I/O.
bool is_aio_mode(std::string_view word);

}  // namespace vmm::tools
