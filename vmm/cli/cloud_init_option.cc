// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/cloud_init_option.h"

#include <fmt/core.h>

#include <algorithm>

#include "vmm/cli/disk_option.h"
#include "vmm/cli/read_file.h"
#include "vmm/cloud_init.h"
#include "vmm/core/log.h"
#include "vmm/fat_image.h"

namespace vmm::cli {
namespace {

// How cloud-init tells what user-data is; it drops anything else without a word to the user.
bool is_known_user_data(std::string_view text) {
  constexpr std::string_view kStarts[] = {"#", "\x1f\x8b", "MIME-", "Content-Type", "From "};
  return text.empty() || std::any_of(std::begin(kStarts), std::end(kStarts),
                                     [&](auto start) { return text.starts_with(start); });
}

}  // namespace

Result<UniqueFd> make_seed_from_option(std::string_view text, std::string_view name) {
  std::string_view rest = text;
  const std::string user_file = take_part(rest);
  std::string meta_file;
  if (!rest.empty()) {
    rest.remove_prefix(1);
    meta_file = take_part(rest);
  }
  if (user_file.empty() || !rest.empty()) {
    return fail(ErrorKind::kInvalid,
                fmt::format("'{}': expected USER-DATA[,META-DATA], ',,' stands for a "
                            "comma in a name",
                            text));
  }
  VMM_TRY(const std::string user_data, read_file(user_file, kMaxFatContent));
  std::string meta_data = default_meta_data(name);
  if (!meta_file.empty()) {
    VMM_TRY(meta_data, read_file(meta_file, kMaxFatContent));
  }
  if (!is_known_user_data(user_data)) {
    log::warn("--cloud-init: {} starts with no '#cloud-config' or '#!', cloud-init will ignore it",
              user_file);
  }
  return make_seed(user_data, meta_data);
}

}  // namespace vmm::cli
