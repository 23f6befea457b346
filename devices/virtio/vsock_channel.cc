// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/vsock_channel.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace vmm::virtio {
namespace {

// Room for one descriptor.
union Rights {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

}  // namespace

int VsockChannel::receive(Incoming& incoming) {
  iovec bytes{&incoming.answer, sizeof incoming.answer};
  Rights rights;
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = &rights;
  message.msg_controllen = sizeof rights;
  ssize_t got;
  do {
    got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  if (got != sizeof incoming.answer) return -EPIPE;
  const cmsghdr* control = CMSG_FIRSTHDR(&message);
  if (control != nullptr && control->cmsg_type == SCM_RIGHTS &&
      control->cmsg_len == CMSG_LEN(sizeof(int))) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(control), sizeof fd);
    incoming.stream = UniqueFd(fd);
  } else if (incoming.answer.error == 0) {
    incoming.answer.error = EBADF;  // this process has no room for another descriptor
  }
  return 0;
}

int VsockChannel::send(const VsockDial& dial) {
  ssize_t put;
  do {
    put = ::write(socket_.get(), &dial, sizeof dial);
  } while (put < 0 && errno == EINTR);
  return put < 0 ? -errno : 0;
}

int VsockChannel::answer(int socket, const VsockAnswer& answer, int stream) {
  VsockAnswer copy = answer;
  iovec bytes{&copy, sizeof copy};
  Rights rights{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (stream >= 0) {
    message.msg_control = &rights;
    message.msg_controllen = sizeof rights;
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(control), &stream, sizeof stream);
  }
  ssize_t put;
  do {
    put = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (put < 0 && errno == EINTR);
  return put < 0 ? -errno : 0;
}

}  // namespace vmm::virtio
