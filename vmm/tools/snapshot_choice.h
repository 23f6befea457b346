// SPDX-License-Identifier: Apache-2.0
// Which snapshot of an image a tool shall read, as -l of qemu-img says it.
#pragma once

#include <optional>
#include <string>

#include "vmm/core/result.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

struct SnapshotChoice {
  std::optional<std::string> id;
  std::optional<std::string> name;
  std::optional<std::string> id_or_name;  // the id first; without the two above
};

// "snapshot.id=1,snapshot.name=before" with one of the two or both, or an id or a name alone.
Result<SnapshotChoice> parse_snapshot_choice(const std::string& text);

// Makes the image, which is open for reading only, show that snapshot.
Result<void> show_snapshot(Session& session, OpenedImage& image, const SnapshotChoice& choice);

}  // namespace vmm::tools
