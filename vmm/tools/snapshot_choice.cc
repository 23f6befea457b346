// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/snapshot_choice.h"

#include <fmt/core.h>

#include <algorithm>

#include "disk/qcow/qcow_disk.h"
#include "vmm/tools/option_list.h"

namespace vmm::tools {

namespace {

using disk::qcow::Snapshot;

template <class Matches>
std::optional<std::size_t> find(const std::vector<Snapshot>& all, Matches matches) {
  const auto at = std::find_if(all.begin(), all.end(), matches);
  if (at == all.end()) return std::nullopt;
  return static_cast<std::size_t>(at - all.begin());
}

std::optional<std::size_t> find_choice(const std::vector<Snapshot>& all,
                                       const SnapshotChoice& choice) {
  if (choice.id_or_name) {
    const auto by_id =
        find(all, [&](const Snapshot& each) { return each.id == *choice.id_or_name; });
    if (by_id) return by_id;
    return find(all, [&](const Snapshot& each) { return each.name == *choice.id_or_name; });
  }
  return find(all, [&](const Snapshot& each) {
    return (!choice.id || each.id == *choice.id) && (!choice.name || each.name == *choice.name);
  });
}

}  // namespace

Result<SnapshotChoice> parse_snapshot_choice(const std::string& text) {
  SnapshotChoice choice;
  if (!text.starts_with("snapshot.")) {
    choice.id_or_name = text;
    return choice;
  }
  VMM_TRY(const OptionList list, parse_option_list(text));
  for (const auto& [name, value] : list) {
    if (name == "snapshot.id") {
      choice.id = value;
    } else if (name == "snapshot.name") {
      choice.name = value;
    } else {
      return fail(ErrorKind::kInvalid,
                  fmt::format("-l {}: '{}' is not a word of it; use snapshot.id=ID and "
                              "snapshot.name=NAME",
                              text, name));
    }
  }
  return choice;
}

Result<void> show_snapshot(Session& session, OpenedImage& image, const SnapshotChoice& choice) {
  disk::qcow::QcowDisk* qcow = image.qcow2();
  if (qcow == nullptr) {
    return fail(ErrorKind::kUnsupported, fmt::format("'{}': {} images have no snapshots",
                                                     image.options().path, image.disk().format()));
  }
  const auto index = find_choice(qcow->snapshots(), choice);
  if (!index) {
    return fail(
        ErrorKind::kNotFound,
        fmt::format("'{}' has no such snapshot; `snapshot -l` lists them", image.options().path));
  }
  return session.wait(qcow->show_snapshot(*index));
}

}  // namespace vmm::tools
