// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/image_name.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "vmm/tools/option_list.h"

namespace vmm::tools {

namespace {

using Parsed = nlohmann::ordered_json;

constexpr std::size_t kMaxDepth = 8;

// {"file": {"filename": "x"}} as file.filename=x.
Result<void> flatten(const std::string& prefix, const Parsed& object, std::size_t depth,
                     OptionList& to) {
  if (depth > kMaxDepth) return fail(ErrorKind::kInvalid, "json: objects are nested too deeply");
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix + key;
    if (value.is_object()) {
      VMM_CHECK(flatten(name + ".", value, depth + 1, to));
    } else if (value.is_string()) {
      to.emplace_back(name, value.get<std::string>());
    } else if (value.is_boolean()) {
      to.emplace_back(name, value.get<bool>() ? "on" : "off");
    } else if (value.is_number_integer()) {
      to.emplace_back(name, value.dump());
    } else if (value.is_null() && name == "backing") {
      to.emplace_back(name, "off");
    } else {
      return fail(ErrorKind::kInvalid, fmt::format("json: '{}' has a value of a wrong kind", name));
    }
  }
  return {};
}

// QEMU takes 'text' for "text", and scripts use it because a shell's quotes are the others.
std::string with_double_quotes(std::string_view text) {
  std::string out;
  char quote = '\0';  // the one that began the string that `c` is in
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
      out += '"';
    } else if (c == quote && quote != '\0') {
      quote = '\0';
      out += '"';
    } else if (quote != '\0' && c == '\\' && i + 1 < text.size()) {
      const char next = text[++i];
      if (next != '\'') out += c;
      out += next;
    } else if (quote == '\'' && c == '"') {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

Result<OptionList> parse_json_name(std::string_view text) {
  const Parsed object =
      Parsed::parse(with_double_quotes(text), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return fail(ErrorKind::kInvalid,
                fmt::format("Could not parse the JSON options 'json:{}'", text));
  }
  OptionList list;
  VMM_CHECK(flatten("", object, 0, list));
  return list;
}

Result<void> apply_list(const OptionList& list, ImageOptions& options) {
  const std::string given_format = std::exchange(options.format, {});
  options.path.clear();
  VMM_CHECK(apply_driver_list(list, options));
  // The file itself, without a format.
  if (options.format == "file" || options.format == "host_device") options.format = "raw";
  if (!given_format.empty() && !options.format.empty() && given_format != options.format) {
    return fail(ErrorKind::kInvalid,
                fmt::format("the format is given twice: {} and {}", given_format, options.format));
  }
  if (options.format.empty()) options.format = given_format;
  if (options.path.empty()) return fail(ErrorKind::kInvalid, "file.filename=PATH is missing");
  options.path = local_path(options.path);
  return {};
}

}  // namespace

bool looks_like_protocol(std::string_view name) {
  const std::size_t colon = name.find(':');
  return colon != name.npos && colon < name.find('/');
}

std::string local_path(const std::string& name) {
  if (!name.starts_with("file:")) return name;
  std::string path = name.substr(5);
  if (looks_like_protocol(path)) path.insert(0, "./");
  return path;
}

Result<void> resolve_image_name(ImageOptions& options) {
  constexpr std::string_view kJson = "json:";
  if (std::exchange(options.is_option_list, false)) {
    VMM_TRY(const OptionList list, parse_option_list(options.path));
    return apply_list(list, options);
  }
  if (options.path.starts_with(kJson)) {
    VMM_TRY(const OptionList list, parse_json_name(std::string_view(options.path).substr(5)));
    return apply_list(list, options);
  }
  options.path = local_path(options.path);
  return {};
}

}  // namespace vmm::tools
