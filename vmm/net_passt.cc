// SPDX-License-Identifier: Apache-2.0
#include "vmm/net_passt.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "devices/virtio/net_stream.h"
#include "vmm/core/unique_fd.h"
#include "vmm/core/unix_address.h"

extern char** environ;

namespace vmm {
namespace {

// In the child; no other descriptor of ours is there.
constexpr int kChildFd = 3;
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

// As execvp(3) looks.
bool is_in_path(const std::string& program) {
  const char* variable = ::getenv("PATH");
  std::string_view rest = variable == nullptr ? "/bin:/usr/bin" : variable;
  while (true) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    std::string file(rest.substr(0, end));
    file += (file.empty() ? "./" : "/") + program;
    if (::access(file.c_str(), X_OK) == 0) return true;
    if (end == rest.size()) return false;
    rest.remove_prefix(end + 1);
  }
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

  std::vector<std::string> words = {kProgram, "--foreground", "--quiet", "--fd",
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
  const int error = spawn_passt(other.get(), net);
  if (error == ENOENT) return no_passt();
  if (error != 0) return fail_errno(error, "--net user: start passt");
  return own;
}

}  // namespace

Result<void> check_passt(const MachineConfig::Net& net) {
  if (net.socket.empty()) {
    if (!is_in_path(kProgram)) return no_passt();
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
