// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/file_name.h"

namespace vmm::tools {

std::string resolve_against(std::string_view base, std::string_view name) {
  if (name.empty() || name.front() == '/') return std::string(name);
  const std::size_t slash = base.rfind('/');
  if (slash == std::string_view::npos) return std::string(name);
  return std::string(base.substr(0, slash + 1)) + std::string(name);
}

}  // namespace vmm::tools
