// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/disk_option.h"

#include <fmt/core.h>

namespace vmm::cli {
namespace {

Result<void> apply(std::string_view option, disk::DiskOptions& options) {
  if (option == "ro") {
    options.read_only = true;
  } else if (option == "rw") {
    options.read_only = false;
  } else if (option == "direct") {
    options.direct = true;
  } else if (option.starts_with("format=")) {
    Result<disk::Format> format = disk::parse_format(option.substr(7));
    if (!format) {
      return Unexpected(
          std::move(format).error().with_context(fmt::format("--disk {}", options.path)));
    }
    options.format = *format;
  } else {
    return fail(ErrorKind::kInvalid,
                fmt::format("--disk {}: there is no option '{}'; ro, direct and format= are known",
                            options.path, option));
  }
  return {};
}

}  // namespace

Result<disk::DiskOptions> parse_disk_option(std::string_view text) {
  disk::DiskOptions options;
  options.backing = disk::BackingPolicy::kOpenIfTold;
  std::size_t end = std::min(text.find(','), text.size());
  options.path = text.substr(0, end);
  if (options.path.empty()) {
    return fail(ErrorKind::kInvalid, fmt::format("--disk '{}': there is no file name", text));
  }
  while (end < text.size()) {
    text.remove_prefix(end + 1);
    end = std::min(text.find(','), text.size());
    VMM_CHECK(apply(text.substr(0, end), options));
  }
  return options;
}

}  // namespace vmm::cli
