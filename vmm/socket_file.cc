// SPDX-License-Identifier: Apache-2.0
#include "vmm/socket_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

constexpr int kBacklog = 64;

bool same_file(const struct stat& one, const struct stat& other) {
  // Inode numbers are used again, times are not.
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino &&
         one.st_ctim.tv_sec == other.st_ctim.tv_sec && one.st_ctim.tv_nsec == other.st_ctim.tv_nsec;
}

// Nothing there, or a socket on which nobody listens.
Result<void> check_free(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) {
    return fail(ErrorKind::kInvalid, fmt::format("{}: this file is no socket", path));
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe) return fail_errno(errno, "socket");
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED) {
    return {};
  }
  return fail(ErrorKind::kBusy, fmt::format("{}: a program listens there already", path));
}

}  // namespace

void close_all_but(int one, int other) {
  const auto low = static_cast<unsigned>(std::min(one, other));
  const auto high = static_cast<unsigned>(std::max(one, other));
  if (low > 0) ::close_range(0, low - 1, 0);
  if (high > low + 1) ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0u, 0);
}

Result<void> SocketFile::check(const std::string& path) {
  VMM_TRY(const sockaddr_un address, unix_address(path));
  VMM_CHECK(check_free(path, address));
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (::access(directory.c_str(), W_OK | X_OK) != 0) return fail_errno(errno, path);
  return {};
}

Result<SocketFile> SocketFile::create(const std::string& path) {
  VMM_TRY(const sockaddr_un address, unix_address(path));
  VMM_CHECK(check_free(path, address));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, path);
  SocketFile file;
  file.path_ = path;
  file.fd_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!file.fd_) return fail_errno(errno, "socket");
  const mode_t before = ::umask(0177);
  const int bound =
      ::bind(file.fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(before);
  if (bound != 0) return fail_errno(error, path);
  if (::listen(file.fd_.get(), kBacklog) != 0) return fail_errno(errno, path);
  return file;
}

Result<void> SocketFile::remove_at_end() {
  struct stat own {};
  if (::lstat(path_.c_str(), &own) != 0) return fail_errno(errno, path_);
  // The working directory may be another one by then, or the root directory be.
  const UniqueFd here(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  int ends[2];
  if (!here || ::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, path_);
  UniqueFd reader(ends[0]);
  alive_ = UniqueFd(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child > 0) return {};
  // Signals to the process group are for the machine.
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_NAME, "vmm-socket");
  close_all_but(reader.get(), here.get());
  char byte;
  while (::read(reader.get(), &byte, 1) < 0 && errno == EINTR) {
  }
  struct stat now {};
  if (::fstatat(here.get(), path_.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 && same_file(own, now)) {
    ::unlinkat(here.get(), path_.c_str(), 0);
  }
  ::_exit(0);
}

}  // namespace vmm
