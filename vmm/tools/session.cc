// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/session.h"

#include <fmt/core.h>

#include "vmm/tools/image_name.h"

namespace vmm::tools {

Result<std::unique_ptr<OpenedImage>> Session::open(ImageOptions options) {
  const std::string path = options.path;
  VMM_CHECK(resolve_image_name(options));
  Result<std::unique_ptr<OpenedImage>> image = wait(OpenedImage::open(*loop_, std::move(options)));
  if (!image) {
    return Unexpected(
        std::move(image).error().with_context(fmt::format("Could not open '{}'", path)));
  }
  return image;
}

int finish(const Console& console, const Result<int>& result) {
  if (result) return *result;
  console.error(result.error());
  return 1;
}

Result<bool> wants_json(const std::string& output) {
  if (output.empty() || output == "human") return false;
  if (output == "json") return true;
  return fail(ErrorKind::kInvalid, "--output must be used with human or json as argument.");
}

}  // namespace vmm::tools
