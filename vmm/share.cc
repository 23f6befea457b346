// SPDX-License-Identifier: Apache-2.0
#include "vmm/share.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "vmm/child_process.h"
#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

// Where distributions put what is no command: Debian 12 (in qemu-system-common), Debian 13 and
// Fedora, Arch.
constexpr const char* kPlaces[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd",
                                   "/usr/lib/virtiofsd"};

Result<std::string> find_virtiofsd() {
  if (std::string file = find_program("virtiofsd"); !file.empty()) return file;
  for (const char* file : kPlaces) {
    if (::access(file, X_OK) == 0) return std::string(file);
  }
  return fail(ErrorKind::kInvalid,
              "--share: there is no program virtiofsd (Debian 12: apt install qemu-system-common; "
              "later: virtiofsd)");
}

std::string flag_of(const MachineConfig::Share& share) {
  return fmt::format("--share {}", share.directory);
}

struct Connection {
  UniqueFd listening, connected;
};

// A listening socket, which virtiofsd wants, with this process as the one that has connected to it.
// Its file is gone again, and was in a directory that nobody else may enter.
Result<Connection> connect_pair() {
  std::string directory = "/tmp/vmm-share-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) return fail_errno(errno, directory);
  const std::string path = directory + "/socket";
  Connection pair;
  const int type = SOCK_STREAM | SOCK_CLOEXEC;
  pair.listening = UniqueFd(::socket(AF_UNIX, type, 0));
  pair.connected = UniqueFd(::socket(AF_UNIX, type, 0));
  const sockaddr_un address = *unix_address(path);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const bool done = ::bind(pair.listening.get(), generic, sizeof address) == 0 &&
                    ::listen(pair.listening.get(), 1) == 0 &&
                    ::connect(pair.connected.get(), generic, sizeof address) == 0;
  const int error = errno;
  ::unlink(path.c_str());
  ::rmdir(directory.c_str());
  if (!done) return fail_errno(error, path);
  return pair;
}

Result<ShareBackend> start_virtiofsd(const std::string& program,
                                     const MachineConfig::Share& share) {
  Result<Connection> pair = connect_pair();
  if (!pair) return Unexpected(std::move(pair).error().with_context(flag_of(share)));
  // Its complaints are kept until they are of use: QEMU's has one at each end of a machine.
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno(errno, flag_of(share));
  UniqueFd messages(ends[0]), writer(ends[1]);
  // As QEMU's virtiofsd has it; the one in Rust knows it too.
  const int error = start_child({program, fmt::format("--fd={}", kChildFd), "-o",
                                 fmt::format("source={}", share.directory), "-o", "log_level=err"},
                                pair->listening.get(), writer.get());
  if (error != 0) return fail_errno(error, fmt::format("{}: start {}", flag_of(share), program));
  return ShareBackend{std::move(pair->connected), std::move(messages)};
}

}  // namespace

Result<void> check_shares(const std::vector<MachineConfig::Share>& shares) {
  for (const MachineConfig::Share& share : shares) {
    DIR* directory = ::opendir(share.directory.c_str());
    if (directory == nullptr) return fail_errno(errno, flag_of(share));
    ::closedir(directory);
  }
  if (shares.empty()) return {};
  VMM_TRY([[maybe_unused]] std::string program, find_virtiofsd());
  return {};
}

Result<std::vector<ShareBackend>> open_shares(const std::vector<MachineConfig::Share>& shares) {
  VMM_CHECK(check_shares(shares));
  std::vector<ShareBackend> backends;
  for (const MachineConfig::Share& share : shares) {
    VMM_TRY(const std::string program, find_virtiofsd());
    VMM_TRY(ShareBackend backend, start_virtiofsd(program, share));
    backends.push_back(std::move(backend));
  }
  return backends;
}

std::string last_words(const ShareBackend& backend) {
  constexpr int kPatience = 200;  // milliseconds
  pollfd entry = {backend.messages.get(), POLLIN, 0};
  std::string text;
  char bytes[512];
  while (::poll(&entry, 1, kPatience) > 0) {
    const ssize_t got = ::read(backend.messages.get(), bytes, sizeof bytes);
    if (got <= 0) break;
    text.append(bytes, static_cast<std::size_t>(got));
  }
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);  // npos + 1 is 0
}

}  // namespace vmm
