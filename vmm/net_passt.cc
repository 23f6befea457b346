// SPDX-License-Identifier: Apache-2.0
#include "vmm/net_passt.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "devices/virtio/net_stream.h"
#include "vmm/child_process.h"
#include "vmm/core/unique_fd.h"
#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

constexpr const char* kProgram = "passt";

Unexpected<Error> no_passt() {
  return fail(ErrorKind::kInvalid,
              "--net user: there is no program passt (Debian: apt install passt)");
}

Unexpected<Error> connect_error(int error, const std::string& path) {
  const char* advice = "";
  if (error == ENOENT || error == ECONNREFUSED) advice = " (start passt --socket with this file)";
  if (error == EAGAIN) advice = " (passt serves another machine)";
  return fail_errno(error, fmt::format("--net user,socket={}: connect{}", path, advice));
}

Result<sockaddr_un> address_of(const std::string& path) {
  Result<sockaddr_un> address = unix_address(path);
  if (address) return address;
  return Unexpected(std::move(address).error().with_context("--net user,socket"));
}

Result<UniqueFd> connect_passt(const std::string& path) {
  VMM_TRY(const sockaddr_un address, address_of(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno(errno, "--net user: socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return connect_error(errno, path);
  }
  return socket;
}

Result<UniqueFd> start_passt(const MachineConfig::Net& net) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(errno, "--net user: socketpair");
  }
  UniqueFd own(ends[0]), other(ends[1]);
  if (::fcntl(own.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno(errno, "--net user: fcntl");
  std::vector<std::string> words = {kProgram, "--foreground", "--quiet", "--fd",
                                    std::to_string(kChildFd)};
  for (const std::string& ports : net.tcp) words.insert(words.end(), {"--tcp-ports", ports});
  for (const std::string& ports : net.udp) words.insert(words.end(), {"--udp-ports", ports});
  const int error = start_child(words, other.get(), STDERR_FILENO);
  if (error == ENOENT) return no_passt();
  if (error != 0) return fail_errno(error, "--net user: start passt");
  return own;
}

}  // namespace

Result<void> check_passt(const MachineConfig::Net& net) {
  if (net.socket.empty()) {
    if (find_program(kProgram).empty()) return no_passt();
    return {};
  }
  VMM_CHECK(address_of(net.socket));
  if (::access(net.socket.c_str(), R_OK | W_OK) != 0) return connect_error(errno, net.socket);
  return {};
}

Result<std::unique_ptr<virtio::NetBackend>> open_passt(const MachineConfig::Net& net) {
  VMM_TRY(UniqueFd socket, net.socket.empty() ? start_passt(net) : connect_passt(net.socket));
  return std::unique_ptr<virtio::NetBackend>(
      std::make_unique<virtio::NetStream>(std::move(socket), "passt"));
}

}  // namespace vmm
