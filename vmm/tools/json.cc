// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/json.h"

#include <fmt/core.h>

namespace vmm::tools {

namespace {

// RFC 8259, 7. Bytes above 0x7f go through as they are: names of files are UTF-8 nearly always.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out += '"';
}

}  // namespace

Json::Json(double value) : text_(fmt::format("{:.6f}", value)) {
}

Json::Json(std::string_view value) : text_(quoted(value)) {
}

std::string Json::dump() const {
  std::string out;
  append_to(out, 0);
  return out;
}

void Json::append_to(std::string& out, std::size_t level) const {
  if (kind_ == Kind::kScalar) {
    out += text_;
    return;
  }
  const bool object = kind_ == Kind::kObject;
  out += object ? '{' : '[';
  bool first = true;
  for (const auto& [name, child] : children_) {
    out += first ? "\n" : ",\n";
    first = false;
    out.append((level + 1) * 4, ' ');
    if (object) out += quoted(name) + ": ";
    child.append_to(out, level + 1);
  }
  if (!first) {
    out += '\n';
    out.append(level * 4, ' ');
  }
  out += object ? '}' : ']';
}

}  // namespace vmm::tools
