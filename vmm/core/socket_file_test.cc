// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/socket_file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "vmm/core/testing/catch.h"
#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

struct Directory {
  Directory() { REQUIRE(::mkdtemp(path) != nullptr); }
  ~Directory() {
    ::unlink(socket().c_str());
    ::rmdir(path);
  }
  std::string socket() const { return std::string(path) + "/s"; }
  bool has_socket() const { return ::access(socket().c_str(), F_OK) == 0; }

  char path[40] = "/tmp/vmm-socket-file-XXXXXX";
};

bool somebody_listens(const std::string& path) {
  const sockaddr_un address = *unix_address(path);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

void leave_behind(const std::string& path) {
  REQUIRE(SocketFile::create(path));  // and is gone at once, without remove_at_end()
}

// A process that waits for the end of `start`, takes the name, tells so in `told`, and keeps it.
pid_t start_taker(const std::string& path, int start, int start_writer, int told) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::close(start_writer);
  char byte;
  while (::read(start, &byte, 1) > 0) {
  }
  const Result<SocketFile> file = SocketFile::create(path);
  byte = file ? 'y' : (file.error().kind() == ErrorKind::kBusy ? 'n' : '?');
  if (::write(told, &byte, 1) != 1) ::_exit(1);
  for (;;) ::pause();
}

TEST_CASE("SocketFile: of those that take a name left behind at once, one gets it", "[core]") {
  constexpr std::size_t kTakers = 6;
  Directory directory;
  for (unsigned round = 0; round < 40; ++round) {
    leave_behind(directory.socket());
    int start[2], told[2];
    REQUIRE(::pipe(start) == 0);
    REQUIRE(::pipe(told) == 0);
    std::array<pid_t, kTakers> children;
    for (pid_t& child : children) {
      child = start_taker(directory.socket(), start[0], start[1], told[1]);
      REQUIRE(child > 0);
    }
    ::close(start[1]);
    std::string answers;
    char byte;
    while (answers.size() < kTakers && ::read(told[0], &byte, 1) == 1) answers += byte;
    CHECK(std::count(answers.begin(), answers.end(), 'y') == 1);
    CHECK(std::count(answers.begin(), answers.end(), 'n') == kTakers - 1);
    CHECK(somebody_listens(directory.socket()));
    for (const pid_t child : children) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
    for (const int fd : {start[0], told[0], told[1]}) ::close(fd);
  }
}

TEST_CASE("SocketFile: what is stale is removed, and nothing else", "[core]") {
  Directory directory;
  CHECK_FALSE(SocketFile::remove_if_stale(directory.socket()));
  {
    const Result<SocketFile> file = SocketFile::create(directory.socket());
    REQUIRE(file);
    CHECK_FALSE(SocketFile::remove_if_stale(directory.socket()));
    CHECK(SocketFile::create(directory.socket()).error().kind() == ErrorKind::kBusy);
  }
  CHECK(SocketFile::remove_if_stale(directory.socket()));
  CHECK_FALSE(directory.has_socket());
  std::ofstream(directory.socket()) << "a file";
  CHECK_FALSE(SocketFile::remove_if_stale(directory.socket()));
  CHECK(SocketFile::create(directory.socket()).error().kind() == ErrorKind::kInvalid);
  CHECK(directory.has_socket());
}

TEST_CASE("SocketFile: a directory that stays locked is an error, not a wait for ever", "[core]") {
  Directory directory;
  const UniqueFd other(::open(directory.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(::flock(other.get(), LOCK_EX) == 0);
  const Result<SocketFile> file = SocketFile::create(directory.socket());
  REQUIRE_FALSE(file);
  CHECK(file.error().message().find("locked") != std::string::npos);
}

}  // namespace
}  // namespace vmm
