// SPDX-License-Identifier: Apache-2.0
#include "vmm/net_passt.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "devices/virtio/net_stream.h"
#include "vmm/core/unique_fd.h"

extern char** environ;

namespace vmm {
namespace {

// In the child; no other descriptor of ours is there.
constexpr int kChildFd = 3;

Error spawn_error(int error) {
  if (error == ENOENT) {
    return Error(ErrorKind::kInvalid,
                 "--net user: there is no program passt (Debian: apt install passt)");
  }
  return Error::from_errno(error, "--net user: start passt");
}

// Gives 0 or an errno. The child gets `socket` as kChildFd, and signals that nothing holds back.
int spawn_passt(int socket, const MachineConfig::Net& net) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  // Where both are the same number this takes close-on-exec away.
  ::posix_spawn_file_actions_adddup2(&files, socket, kChildFd);
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  // Its own process group: Ctrl-c at the terminal is for the guest.
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<std::string> words = {"passt", "--foreground", "--quiet", "--fd",
                                    std::to_string(kChildFd)};
  for (const std::string& ports : net.tcp) words.insert(words.end(), {"--tcp-ports", ports});
  for (const std::string& ports : net.udp) words.insert(words.end(), {"--udp-ports", ports});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid;
  const int error =
      ::posix_spawnp(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  return error;
}

}  // namespace

Result<std::unique_ptr<virtio::NetBackend>> start_passt(const MachineConfig::Net& net) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(errno, "--net user: socketpair");
  }
  UniqueFd own(ends[0]), other(ends[1]);
  if (::fcntl(own.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno(errno, "--net user: fcntl");
  if (const int error = spawn_passt(other.get(), net); error != 0) {
    return Unexpected(spawn_error(error));
  }
  return std::unique_ptr<virtio::NetBackend>(
      std::make_unique<virtio::NetStream>(std::move(own), "passt"));
}

}  // namespace vmm
