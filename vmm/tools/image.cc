// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/image.h"

#include <fmt/core.h>

#include "vmm/tools/option_list.h"

namespace vmm::tools {

Result<CacheMode> parse_cache_mode(std::string_view word) {
  if (word == "writeback") return CacheMode{};
  if (word == "writethrough") return CacheMode{.write_through = true};
  if (word == "none" || word == "off") return CacheMode{.direct = true};
  if (word == "directsync") return CacheMode{.direct = true, .write_through = true};
  if (word == "unsafe") return CacheMode{.no_flush = true};
  return fail(ErrorKind::kInvalid,
              fmt::format("cache mode '{}' is not known: use writeback, writethrough, none, "
                          "directsync or unsafe",
                          word));
}

namespace {

Result<bool> parse_switch(const std::string& name, std::string_view value) {
  if (value == "on" || value == "yes" || value == "true") return true;
  if (value == "off" || value == "no" || value == "false") return false;
  return fail(ErrorKind::kInvalid, fmt::format("Parameter '{}' expects 'on' or 'off'", name));
}

}  // namespace

Result<void> parse_driver_options(std::string_view text, ImageOptions& options) {
  VMM_TRY(const OptionList list, parse_option_list(text));
  return apply_driver_list(list, options);
}

Result<void> apply_driver_list(const OptionList& list, ImageOptions& options) {
  for (const auto& [name, value] : list) {
    if (name == "driver") {
      options.format = value;
    } else if (name == "file.filename" || name == "filename") {
      options.path = value;
    } else if (name == "file.driver") {
      if (value != "file" && value != "host_device") {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("file.driver={} is not supported, only local files", value));
      }
    } else if (name == "read-only") {
      VMM_TRY(options.read_only, parse_switch(name, value));
    } else if (name == "force-share") {
      VMM_TRY(options.force_share, parse_switch(name, value));
    } else if (name == "file.locking") {
      // Locks are taken in any case, unless force-share is asked for.
    } else if (name == "cache.direct" || name == "file.cache.direct") {
      VMM_TRY(options.cache.direct, parse_switch(name, value));
    } else if (name == "cache.no-flush") {
      VMM_TRY(options.cache.no_flush, parse_switch(name, value));
    } else if (name == "discard") {
      if (!parse_discard_mode(value, options)) {
        return fail(ErrorKind::kInvalid, fmt::format("Invalid discard option: {}", value));
      }
    } else {
      options.driver_options[name] = value;
    }
  }
  return {};
}

bool parse_discard_mode(std::string_view word, ImageOptions& options) {
  const bool unmap = word == "unmap" || word == "on";
  if (!unmap && word != "ignore" && word != "off") return false;
  options.discard_unmap = unmap;
  return true;
}

bool is_aio_mode(std::string_view word) {
  return word == "threads" || word == "native" || word == "io_uring";
}

}  // namespace vmm::tools
