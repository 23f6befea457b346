// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/resize_tool.h"

#include <fmt/core.h>

#include "disk/whole_sectors.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

// The size that `text` asks for, starting from `now`; rounded up to whole sectors.
Result<std::uint64_t> wanted_size(const std::string& text, std::uint64_t now) {
  const char sign = text.empty() ? '\0' : text[0];
  const bool relative = sign == '+' || sign == '-';
  const Result<std::uint64_t> amount = parse_size(relative ? text.substr(1) : text);
  if (!amount) {
    return fail(ErrorKind::kInvalid,
                fmt::format("'{}' is not a size: write 20G, +1G or -1G", text));
  }
  std::uint64_t size = *amount;
  if (sign == '+' && __builtin_add_overflow(now, *amount, &size)) {
    return fail(ErrorKind::kInvalid, "New image size is too large");
  }
  if (sign == '-') {
    if (*amount >= now) return fail(ErrorKind::kInvalid, "New image size must be positive");
    size = now - *amount;
  }
  return disk::whole_sectors(size);
}

Result<void> check_preallocation(const std::string& word) {
  for (const char* known : {"off", "metadata", "falloc", "full"}) {
    if (word == known) return {};
  }
  return fail(ErrorKind::kInvalid, fmt::format("Invalid preallocation mode '{}'", word));
}

Result<int> run(const ResizeConfig& config, const Console& console) {
  VMM_CHECK(check_preallocation(config.preallocation));
  VMM_TRY(Session session, Session::start());
  VMM_TRY(const auto image, session.open(config.image));
  const std::uint64_t now = image->disk().size();
  VMM_TRY(const std::uint64_t size, wanted_size(config.size, now));
  if (size < now && !config.shrink) {
    return fail(ErrorKind::kInvalid,
                "Use the --shrink option to perform a shrink operation: it deletes all data "
                "beyond the new end.");
  }
  if (size < now && config.preallocation != "off") {
    return fail(ErrorKind::kInvalid, "Preallocation can only be used for growing images");
  }
  VMM_CHECK(session.wait(image->truncate(size, config.preallocation)));
  VMM_CHECK(session.close(*image));
  console.print("Image resized.\n");
  return 0;
}

}  // namespace

int run_resize(const ResizeConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
