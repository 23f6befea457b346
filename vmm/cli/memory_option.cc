// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/memory_option.h"

#include <fmt/core.h>

#include "vmm/cli/size.h"

namespace vmm::cli {

Result<void> parse_memory_option(std::string_view text, MachineConfig& config) {
  constexpr std::string_view kFile = "file=";
  const std::size_t end = text.find(',');
  VMM_TRY(config.memory_bytes, parse_size(text.substr(0, end), std::uint64_t{1} << 20, "--mem"));
  std::string_view rest = end == text.npos ? std::string_view() : text.substr(end);
  while (!rest.empty()) {
    rest.remove_prefix(1);
    if (rest.starts_with(kFile)) {
      config.memory_file = rest.substr(kFile.size());
      if (!config.memory_file.empty()) return {};
    }
    const std::string_view word = rest.substr(0, rest.find(','));
    if (word != "shared") {
      return fail(ErrorKind::kInvalid,
                  fmt::format("--mem {}: '{}' is neither shared nor file=PATH", text, word));
    }
    config.memory_shared = true;
    rest.remove_prefix(word.size());
  }
  return {};
}

}  // namespace vmm::cli
