// SPDX-License-Identifier: Apache-2.0
#include "vmm/core/socket_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "vmm/core/unix_address.h"

namespace vmm {
namespace {

constexpr int kBacklog = 64;
// It is held for some system calls, but in a directory that others may read it can be anybody's.
constexpr std::chrono::seconds kLockPatience{5};

struct Place {
  std::string directory, name;
};

Place place_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

// Who removes or makes a socket in a directory holds this: between a look and the deed nobody else
// may take the name. `directory` is looked up from `base`.
Result<UniqueFd> lock_directory(int base, const std::string& directory) {
  UniqueFd fd(::openat(base, directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, directory);
  const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno(errno, "lock " + directory);
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(ErrorKind::kBusy,
                  fmt::format("{}: another program keeps this directory locked", directory));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return fd;
}

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
  if (::access(place_of(path).directory.c_str(), R_OK | W_OK | X_OK) != 0)
    return fail_errno(errno, path);
  return {};
}

Result<SocketFile> SocketFile::create(const std::string& path) {
  VMM_TRY(const sockaddr_un address, unix_address(path));
  Result<UniqueFd> lock = lock_directory(AT_FDCWD, place_of(path).directory);
  if (!lock) return Unexpected(std::move(lock).error().with_context(path));
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

bool SocketFile::remove_if_stale(const std::string& path) {
  const Result<sockaddr_un> address = unix_address(path);
  if (!address) return false;
  const Result<UniqueFd> lock = lock_directory(AT_FDCWD, place_of(path).directory);
  return lock && check_free(path, *address) && ::unlink(path.c_str()) == 0;
}

Result<void> SocketFile::remove_at_end() {
  struct stat own {};
  if (::lstat(path_.c_str(), &own) != 0) return fail_errno(errno, path_);
  // The working directory may be another one by then, or the root directory be.
  const Place place = place_of(path_);
  const UniqueFd here(::open(place.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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
  const Result<UniqueFd> lock = lock_directory(here.get(), ".");
  struct stat now {};
  // Another machine may have the name by now.
  if (lock && ::fstatat(here.get(), place.name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 &&
      same_file(own, now)) {
    ::unlinkat(here.get(), place.name.c_str(), 0);
  }
  ::_exit(0);
}

}  // namespace vmm
