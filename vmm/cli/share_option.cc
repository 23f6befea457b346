// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/share_option.h"

#include <fmt/core.h>
#include <limits.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>

#include "devices/virtio/fs.h"

namespace vmm::cli {
namespace {

Unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorKind::kInvalid, fmt::format("--share {}: {}", text, why));
}

Result<MachineConfig::Share> parse_one(const std::string& text) {
  constexpr std::string_view kTag = "tag=";
  MachineConfig::Share share;
  const std::size_t end = text.find(',');
  const std::string directory = text.substr(0, end);
  char absolute[PATH_MAX];
  if (::realpath(directory.c_str(), absolute) == nullptr) {
    return fail_errno(errno, fmt::format("--share {}", directory));
  }
  share.directory = absolute;
  if (share.directory.find(',') != std::string::npos) {
    return refuse(text, "the name of a shared directory can have no comma");
  }
  if (end == std::string::npos) {
    share.tag = share.directory.substr(share.directory.rfind('/') + 1);
    if (share.tag.empty()) share.tag = "root";
  } else {
    share.tag = text.substr(end + 1);
    if (share.tag.starts_with(kTag)) share.tag.erase(0, kTag.size());
  }
  if (share.tag.empty() || share.tag.size() > virtio::Fs::kMaxTag) {
    return refuse(text,
                  fmt::format("the tag '{}', which the guest mounts, must have 1 to {} bytes: "
                              "write DIR,TAG",
                              share.tag, virtio::Fs::kMaxTag));
  }
  if (share.tag.find(',') != std::string::npos) return refuse(text, "write DIR or DIR,TAG");
  return share;
}

}  // namespace

Result<std::vector<MachineConfig::Share>> parse_share_options(
    const std::vector<std::string>& options) {
  std::vector<MachineConfig::Share> shares;
  for (const std::string& text : options) {
    VMM_TRY(MachineConfig::Share share, parse_one(text));
    const bool is_there = std::any_of(shares.begin(), shares.end(),
                                      [&](const auto& each) { return each.tag == share.tag; });
    if (is_there) {
      return refuse(text, fmt::format("there is a tag '{}' already: write DIR,TAG", share.tag));
    }
    shares.push_back(std::move(share));
  }
  if (shares.size() > MachineConfig::kMaxShares) {
    return fail(ErrorKind::kInvalid, fmt::format("--share: {} directories are too many, {} is the "
                                                 "limit",
                                                 shares.size(), MachineConfig::kMaxShares));
  }
  return shares;
}

}  // namespace vmm::cli
