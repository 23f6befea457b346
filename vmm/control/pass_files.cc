// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/pass_files.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "vmm/control/protocol.h"

namespace vmm::control {
namespace {

constexpr std::size_t kControlSize = CMSG_SPACE(kMaxFiles * sizeof(int));

void take_files(msghdr& message, std::vector<UniqueFd>& files) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t nr_files = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < nr_files; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      files.emplace_back(fd);
    }
  }
}

}  // namespace

ssize_t send_with_files(int fd, std::string_view bytes, std::span<const int> files) {
  if (files.empty()) return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (files.size() > kMaxFiles) {
    errno = EMSGSIZE;
    return -1;
  }
  alignas(cmsghdr) std::array<char, kControlSize> control{};
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), files.data(), files.size() * sizeof(int));
  return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t receive_with_files(int fd, std::span<char> bytes, std::vector<UniqueFd>& files) {
  alignas(cmsghdr) std::array<char, kControlSize> control;
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (got >= 0) take_files(message, files);
  return got;
}

}  // namespace vmm::control
