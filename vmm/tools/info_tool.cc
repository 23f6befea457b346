// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/info_tool.h"

#include <fmt/core.h>

#include <algorithm>

#include "disk/open_disk.h"
#include "vmm/tools/image_info.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

namespace {

constexpr std::size_t kMaxChain = 252;  // layers; more is a mistake or an attack

Result<std::vector<ImageInfo>> read_chain(Session& session, const InfoConfig& config) {
  std::vector<ImageInfo> chain;
  ImageOptions options = config.image;
  while (true) {
    VMM_TRY(ImageInfo info, session.wait(read_image_info(session.loop(), options)));
    const std::string named = info.backing_file;
    options.format = info.backing_format;
    const std::string path = info.path;
    chain.push_back(std::move(info));
    if (!config.backing_chain || named.empty()) return chain;
    VMM_TRY(const std::string next, disk::resolve_name(path, named));
    options =
        ImageOptions{.path = next, .format = options.format, .force_share = options.force_share};
    const bool circular = std::any_of(chain.begin(), chain.end(),
                                      [&](const ImageInfo& each) { return each.path == next; });
    if (circular || chain.size() == kMaxChain) {
      return fail(ErrorKind::kInvalid,
                  fmt::format("Backing file '{}' creates an infinite loop.", next));
    }
  }
}

Result<int> run(const InfoConfig& config, const Console& console) {
  VMM_TRY(const bool json, wants_json(config.output));
  VMM_TRY(Session session, Session::start());
  VMM_TRY(const std::vector<ImageInfo> chain, read_chain(session, config));
  if (json && config.backing_chain) {
    Json list = Json::array();
    for (const ImageInfo& info : chain) list.push(image_info_json(info));
    fmt::print(console.out, "{}\n", list.dump());
  } else if (json) {
    fmt::print(console.out, "{}\n", image_info_json(chain.front()).dump());
  } else {
    for (const ImageInfo& info : chain) {
      if (&info != &chain.front()) fmt::print(console.out, "\n");
      print_image_info(console, info);
    }
  }
  return 0;
}

}  // namespace

int run_info(const InfoConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
