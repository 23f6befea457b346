// SPDX-License-Identifier: Apache-2.0
// The forms in which qemu-img takes the name of an image, as far as they name local files:
// "file:x", "json:{...}" and, with --image-opts, "driver=qcow2,file.filename=x".
#pragma once

#include <string>
#include <string_view>

#include "vmm/core/result.h"
#include "vmm/tools/image.h"

namespace vmm::tools {

// Whether there is a ':' before the first '/': QEMU takes what is before it for a protocol.
bool looks_like_protocol(std::string_view name);

// The path behind "file:"; any other name as it is. A path that would be taken for a protocol gets
// "./" in front.
std::string local_path(const std::string& name);

// Reads what `options.path` means into `options`. Fails for options that no image has, and for
// files that are not local.
Result<void> resolve_image_name(ImageOptions& options);

}  // namespace vmm::tools
