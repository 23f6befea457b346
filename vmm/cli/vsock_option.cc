// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/vsock_option.h"

#include <fmt/core.h>

#include <charconv>
#include <string>

#include "devices/virtio/vsock_packet.h"
#include "vmm/cli/disk_option.h"

namespace vmm::cli {
namespace {

Result<std::uint64_t> parse_cid(std::string_view part) {
  constexpr std::string_view kCid = "cid=";
  std::uint64_t cid = 0;
  const std::string_view digits = part.starts_with(kCid) ? part.substr(kCid.size()) : "";
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), cid);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      cid < virtio::kVsockMinGuestCid || cid > virtio::kVsockMaxGuestCid) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--vsock: '{}': expected cid=N, with N from {} to {}", part,
                            virtio::kVsockMinGuestCid, virtio::kVsockMaxGuestCid));
  }
  return cid;
}

}  // namespace

Result<MachineConfig::Vsock> parse_vsock_option(std::string_view text) {
  MachineConfig::Vsock vsock;
  if (text.empty()) return vsock;
  std::string_view rest = text;
  std::string first = take_part(rest);
  // kvmtool's spelling: the CID alone.
  if (!first.empty() && first.find_first_not_of("0123456789") == std::string::npos) {
    VMM_TRY(vsock.cid, parse_cid("cid=" + first));
    vsock.vhost = true;
  } else if (first == "vhost") {
    vsock.vhost = true;
  } else if (first.empty() || first.ends_with('/')) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--vsock: '{}': expected the name of the socket to make, PATH or "
                            "PATH,cid=N, or vhost or vhost,cid=N for the host's kernel",
                            text));
  } else {
    vsock.path = std::move(first);
  }
  while (!rest.empty()) {
    rest.remove_prefix(1);
    VMM_TRY(vsock.cid, parse_cid(take_part(rest)));
  }
  return vsock;
}

}  // namespace vmm::cli
