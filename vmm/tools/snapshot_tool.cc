// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/snapshot_tool.h"

#include <fmt/core.h>

#include "disk/qcow/qcow_disk.h"
#include "vmm/tools/image_info.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

namespace {

using Action = SnapshotConfig::Action;

const char* verb(Action action) {
  switch (action) {
    case Action::kCreate:
      return "create";
    case Action::kApply:
      return "apply";
    default:
      return "delete";
  }
}

Result<void> change(Session& session, OpenedImage& image, const SnapshotConfig& config) {
  disk::qcow::QcowDisk* qcow = image.qcow2();
  if (qcow == nullptr) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("{} images have no snapshots", image.disk().format()));
  }
  switch (config.action) {
    case Action::kCreate:
      return session.wait(qcow->create_snapshot(disk::qcow::new_snapshot(config.name)));
    case Action::kApply:
      return session.wait(qcow->apply_snapshot(config.name));
    default:
      return session.wait(qcow->delete_snapshot(config.name));
  }
}

Result<int> run(const SnapshotConfig& config, const Console& console) {
  VMM_TRY(Session session, Session::start());
  if (config.action == Action::kList) {
    VMM_TRY(const ImageInfo info, session.wait(read_image_info(session.loop(), config.image)));
    print_snapshots(console, info.snapshots);
    return 0;
  }
  ImageOptions options = config.image;
  // A snapshot is of this image alone: what it is based on stays closed.
  options.driver_options["backing"] = "off";
  VMM_TRY(const auto image, session.open(std::move(options)));
  Result<void> changed = change(session, *image, config);
  const Result<void> closed = session.close(*image);
  if (!changed) {
    return Unexpected(std::move(changed).error().with_context(
        fmt::format("Could not {} snapshot '{}'", verb(config.action), config.name)));
  }
  if (!closed) return Unexpected(closed.error());
  return 0;
}

}  // namespace

int run_snapshot(const SnapshotConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
