// SPDX-License-Identifier: Apache-2.0
#include "vmm/net_tap.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "devices/virtio/net.h"
#include "vmm/core/log.h"
#include "vmm/core/unique_fd.h"

namespace vmm {
namespace {

using virtio::Net;

// The kernel's offload bits for the features that a driver accepted.
unsigned tun_offloads(std::uint64_t features) {
  if ((features & Net::kGuestCsum) == 0) return 0;
  unsigned offloads = TUN_F_CSUM;
  if ((features & Net::kGuestTso4) != 0) offloads |= TUN_F_TSO4;
  if ((features & Net::kGuestTso6) != 0) offloads |= TUN_F_TSO6;
  return offloads;
}

class Tap final : public virtio::NetBackend {
 public:
  Tap(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  const char* name() const override { return name_.c_str(); }
  std::uint64_t offloads() const override {
    return Net::kCsum | Net::kGuestCsum | Net::kGuestTso4 | Net::kGuestTso6 | Net::kHostTso4 |
           Net::kHostTso6;
  }
  void accept_offloads(std::uint64_t features) override {
    if (::ioctl(fd_.get(), TUNSETOFFLOAD, tun_offloads(features)) != 0) {
      log::warn("{}: TUNSETOFFLOAD: {}", name_, std::strerror(errno));
    }
  }
  ssize_t receive(std::span<std::byte> header_and_frame) override {
    const ssize_t got = ::read(fd_.get(), header_and_frame.data(), header_and_frame.size());
    if (got >= 0) return got;
    return errno == EINTR ? -EAGAIN : -errno;
  }
  int send(std::span<std::byte> header_and_frame) override {
    if (::write(fd_.get(), header_and_frame.data(), header_and_frame.size()) >= 0) return 0;
    switch (errno) {
      case EINTR:
        return -EAGAIN;
      case EAGAIN:
      case EBADFD:  // the device is gone
        return -errno;
      default:
        return 0;  // dropped: the interface is down (EIO), or the kernel refuses this frame
    }
  }
  int descriptor() const override { return fd_.get(); }

 private:
  const UniqueFd fd_;
  const std::string name_;
};

constexpr const char* kTunFile = "/dev/net/tun";

Unexpected<Error> open_error() {
  const char* advice = "";
  if (errno == ENOENT || errno == ENODEV) advice = " (modprobe tun)";
  if (errno == EACCES || errno == EPERM) advice = " (run as root, or use --net user)";
  return fail_errno(errno, fmt::format("--net tap: open {}{}", kTunFile, advice));
}

}  // namespace

Result<void> check_tap() {
  if (::access(kTunFile, R_OK | W_OK) != 0) return open_error();
  return {};
}

Result<std::unique_ptr<virtio::NetBackend>> open_tap(const std::string& name) {
  UniqueFd fd(::open(kTunFile, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return open_error();
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    const char* advice = "";
    if (errno == EBUSY) advice = " (another program has it open)";
    if (errno == EPERM) {
      advice = " (as root: ip tuntap add dev NAME mode tap user YOU; then --net tap=NAME)";
    }
    return fail_errno(
        errno, fmt::format("--net tap{}{}: TUNSETIFF{}", name.empty() ? "" : "=", name, advice));
  }
  int header_size = sizeof(virtio::NetHeader);
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size) != 0) {
    return fail_errno(errno, "--net tap: TUNSETVNETHDRSZ");
  }
  return std::unique_ptr<virtio::NetBackend>(
      std::make_unique<Tap>(std::move(fd), request.ifr_name));
}

}  // namespace vmm
