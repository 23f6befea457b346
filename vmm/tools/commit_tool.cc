// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/commit_tool.h"

#include <fmt/core.h>

#include <vector>

#include "disk/open_disk.h"
#include "disk/qcow/qcow_disk.h"
#include "disk/qcow1/qcow1_disk.h"
#include "vmm/tools/copy_image.h"
#include "vmm/tools/image_info.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

constexpr std::size_t kMaxLayers = 252;  // as in a chain that is opened

// Whether `name`, as the user wrote it, is the backing file that `info` names.
bool names_backing_of(const ImageInfo& info, const std::string& name) {
  return name == info.backing_file || name == info.full_backing_file();
}

struct Chain {
  std::vector<ImageOptions> layers;  // the image that was named first, then downwards
  ImageOptions base;
};

// What lies between the image and the base, both as its headers name them.
Result<Chain> find_chain(Session& session, const CommitConfig& config) {
  Chain chain;
  ImageOptions at = config.image;
  while (chain.layers.size() < kMaxLayers) {
    VMM_TRY(const ImageInfo info, session.wait(read_image_info(session.loop(), at)));
    if (info.backing_file.empty()) {
      if (chain.layers.empty())
        return fail(ErrorKind::kInvalid, "Image does not have a backing file");
      return fail(ErrorKind::kInvalid, fmt::format("Did not find '{}' in the backing chain of '{}'",
                                                   config.base, config.image.path));
    }
    // Without its backing file a layer shows only what it holds itself.
    at.driver_options["backing"] = "off";
    chain.layers.push_back(at);
    ImageOptions below;
    VMM_TRY(below.path, disk::resolve_name(info.path, info.backing_file));
    below.format = info.backing_format;
    below.cache = config.image.cache;
    if (config.base.empty() || names_backing_of(info, config.base)) {
      chain.base = std::move(below);
      return chain;
    }
    at = std::move(below);
  }
  return fail(ErrorKind::kInvalid,
              fmt::format("more than {} images follow each other", kMaxLayers));
}

// What the layers above see as zeros where `base` has bytes and `layer` has ended.
Result<void> zero_beyond(Session& session, OpenedImage& base, std::uint64_t layer_size) {
  const std::uint64_t size = base.disk().size();
  if (layer_size >= size) return {};
  return session.wait(
      base.disk().write_zeroes(layer_size, size - layer_size, disk::ZeroMode::kMayUnmap));
}

Result<void> copy_down(Session& session, OpenedImage& overlay, OpenedImage& base,
                       const CommitConfig& config, const Console& console) {
  const std::uint64_t size = overlay.disk().size();
  if (base.disk().size() < size) {
    VMM_CHECK(session.wait(base.truncate(size, "off")));
  }
  CopyConfig copy;
  copy.target_zero_from = CopyConfig::kNowhere;
  copy.skip_absent = true;
  if (!config.rate.empty()) {
    VMM_TRY(copy.max_bytes_per_second, parse_rate(config.rate));
  }
  Progress progress(console.out, config.progress && !console.quiet, size);
  const std::vector<disk::Disk*> sources = {&overlay.disk()};
  VMM_CHECK(session.wait(copy_image(session.loop(), sources, base, copy, progress)));
  progress.finish();
  return {};
}

Result<void> empty(Session& session, OpenedImage& overlay) {
  auto* qcow1 = overlay.qcow1();
  return session.wait(qcow1 != nullptr ? qcow1->make_empty() : overlay.qcow2()->make_empty());
}

Result<int> run(const CommitConfig& config, const Console& console) {
  if (!config.rate.empty()) {
    VMM_CHECK(parse_rate(config.rate));
  }
  VMM_TRY(Session session, Session::start());
  VMM_TRY(Chain chain, find_chain(session, config));
  VMM_TRY(const auto base, session.open(chain.base));
  // From below upwards: until the last one is done, its view of the disk does not change.
  while (chain.layers.size() > 1) {
    VMM_TRY(const auto layer, session.open(chain.layers.back()));
    VMM_CHECK(copy_down(session, *layer, *base, config, console));
    VMM_CHECK(zero_beyond(session, *base, layer->disk().size()));
    VMM_CHECK(session.close(*layer));
    chain.layers.pop_back();
  }
  VMM_TRY(const auto overlay, session.open(chain.layers.front()));
  VMM_CHECK(copy_down(session, *overlay, *base, config, console));
  // The overlay gives up its data only once the base has it for good.
  VMM_CHECK(session.close(*base));
  // With -b the images between the two are no longer of use, so the overlay has to stay whole.
  if (!config.keep && config.base.empty()) {
    VMM_CHECK(empty(session, *overlay));
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
