// SPDX-License-Identifier: Apache-2.0
#include "vmm/vsock_connector.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "vmm/core/testing/catch.h"
#include "vmm/core/testing/patience.h"
#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

struct Directory {
  Directory() {
    char name[] = "/tmp/vmm-vsock-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Directory() {
    for (const char* file : {"/s", "/s_80", "/file"}) ::unlink((path + file).c_str());
    ::rmdir(path.c_str());
  }
  std::string path;
};

UniqueFd listen_at(const std::string& path) {
  const sockaddr_un address = *unix_address(path);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(fd.get(), 4) == 0);
  return fd;
}
UniqueFd connect_to(const std::string& path) {
  const sockaddr_un address = *unix_address(path);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return {};
  }
  return fd;
}
bool wait_for(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 60000) == 1;
}
virtio::VsockChannel::Incoming receive(virtio::VsockChannel& channel) {
  virtio::VsockChannel::Incoming incoming;
  REQUIRE(wait_for(channel.descriptor()));
  REQUIRE(channel.receive(incoming) == 0);
  return incoming;
}
bool is_gone(const std::string& path) {
  return vmm::testing::comes_true([&] { return ::access(path.c_str(), F_OK) != 0; });
}

TEST_CASE("vsock: the connector takes programs in, and connects to those that listen", "[vsock]") {
  Directory directory;
  const std::string path = directory.path + "/s";
  MachineConfig::Vsock vsock{.path = path};
  {
    Result<SocketFile> file = open_vsock(vsock);
    REQUIRE(file);
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
    Result<virtio::VsockChannel> channel = start_vsock_connector(file->fd(), path);
    REQUIRE(channel);

    const UniqueFd program = connect_to(path);
    REQUIRE(program);
    const auto accepted = receive(*channel);
    CHECK(accepted.answer.token == 0);
    REQUIRE(accepted.stream);
    REQUIRE(::write(accepted.stream.get(), "hi", 2) == 2);
    char text[8] = {};
    CHECK(::read(program.get(), text, sizeof text) == 2);

    REQUIRE(channel->send({.token = 7, .port = 80}) == 0);
    auto answer = receive(*channel);
    CHECK(answer.answer.token == 7);
    CHECK(answer.answer.error == ENOENT);
    CHECK(!answer.stream);

    const UniqueFd server = listen_at(path + "_80");
    REQUIRE(channel->send({.token = 8, .port = 80}) == 0);
    answer = receive(*channel);
    CHECK(answer.answer.token == 8);
    CHECK(answer.answer.error == 0);
    CHECK(answer.stream);
    CHECK(wait_for(server.get()));
  }
  CHECK(is_gone(path));
}

TEST_CASE("vsock: a socket in use and other files are left alone, a stale one is replaced",
          "[vsock]") {
  Directory directory;
  const std::string path = directory.path + "/s";
  {
    const UniqueFd other = listen_at(path);
    CHECK(open_vsock({.path = path}).error().kind() == ErrorKind::kBusy);
    CHECK(check_vsock({.path = path}).error().message().find("--vsock") == 0);
  }
  CHECK(check_vsock({.path = path}));
  CHECK(SocketFile::create(path));
  const std::string file = directory.path + "/file";
  UniqueFd made(::creat(file.c_str(), 0600));
  CHECK(open_vsock({.path = file}).error().kind() == ErrorKind::kInvalid);
  CHECK(::access(file.c_str(), F_OK) == 0);
  CHECK(check_vsock({.path = directory.path + "/none/s"}).error().os_errno() == ENOENT);
  // 107 bytes are for PATH_4294967295.
  CHECK(check_vsock({.path = directory.path + "/" + std::string(90, 'x')}).error().kind() ==
        ErrorKind::kInvalid);
}

}  // namespace
}  // namespace vmm
