// SPDX-License-Identifier: Apache-2.0
// Json: builds a JSON document to print. Members keep the order in which they were added.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmm::tools {

class Json {
 public:
  static Json object() { return Json(Kind::kObject); }
  static Json array() { return Json(Kind::kArray); }

  Json(bool value) : text_(value ? "true" : "false") {}
  Json(std::integral auto value) : text_(std::to_string(value)) {}
  Json(double value);  // finite
  Json(std::string_view value);
  Json(const std::string& value) : Json(std::string_view(value)) {}
  Json(const char* value) : Json(std::string_view(value)) {}

  // Of an object. The name must not be there yet.
  Json& add(std::string name, Json value) {
    children_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  // Of an array.
  Json& push(Json value) { return add(std::string(), std::move(value)); }

  // Over several lines, four spaces to a level, without a newline at the end.
  std::string dump() const;

 private:
  enum class Kind { kScalar, kObject, kArray };
  explicit Json(Kind kind) : kind_(kind) {}
  void append_to(std::string& out, std::size_t level) const;

  Kind kind_ = Kind::kScalar;
  std::string text_;  // of a scalar, as it is printed
  std::vector<std::pair<std::string, Json>> children_;
};

}  // namespace vmm::tools
