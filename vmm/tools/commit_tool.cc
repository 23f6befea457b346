// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/commit_tool.h"

#include <fmt/core.h>

#include <algorithm>

#include "disk/open_disk.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "vmm/tools/copy_image.h"
#include "vmm/tools/image_info.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

namespace {

Result<std::unique_ptr<OpenedImage>> open_base(Session& session, const CommitConfig& config,
                                               const ImageInfo& info) {
  if (info.backing_file.empty()) {
    return fail(ErrorKind::kInvalid, "Image does not have a backing file");
  }
  if (!config.base.empty() && config.base != info.backing_file &&
      config.base != info.full_backing_file()) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("-b {}: only the image's own backing file '{}' can take the changes",
                            config.base, info.backing_file));
  }
  ImageOptions options;
  VMM_TRY(options.path, disk::resolve_name(info.path, info.backing_file));
  options.format = info.backing_format;
  options.cache = config.image.cache;
  return session.open(std::move(options));
}

Result<void> copy_down(Session& session, OpenedImage& overlay, OpenedImage& base,
                       const CommitConfig& config, const Console& console) {
  const std::uint64_t size = overlay.disk().size();
  if (base.disk().size() < size) {
    VMM_CHECK(session.wait(base.truncate(size, "off")));
  }
  CopyConfig copy;
  copy.target_is_zero = false;
  copy.skip_absent = true;
  Progress progress(console.out, config.progress && !console.quiet, size);
  const std::vector<disk::Disk*> sources = {&overlay.disk()};
  VMM_CHECK(session.wait(copy_image(session.loop(), sources, base, copy, progress)));
  progress.finish();
  return session.close(base);
}

Result<int> run(const CommitConfig& config, const Console& console) {
  VMM_TRY(Session session, Session::start());
  VMM_TRY(const ImageInfo info, session.wait(read_image_info(session.loop(), config.image)));
  VMM_TRY(const auto base, open_base(session, config, info));
  // Without its backing file the overlay shows only what it holds itself.
  ImageOptions options = config.image;
  options.driver_options["backing"] = "off";
  VMM_TRY(const auto overlay, session.open(std::move(options)));
  // The overlay gives up its data only once the base has it for good.
  VMM_CHECK(copy_down(session, *overlay, *base, config, console));
  if (!config.keep) {
    auto* qcow1 = overlay->qcow1();
    VMM_CHECK(
        session.wait(qcow1 != nullptr ? qcow1->make_empty() : overlay->qcow2()->make_empty()));
  }
  VMM_CHECK(session.close(*overlay));
  console.print("Image committed.\n");
  return 0;
}

}  // namespace

int run_commit(const CommitConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
