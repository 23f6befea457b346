// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/listener.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/control/client.h"
#include "vmm/control/directory.h"
#include "vmm/core/unix_address.h"

namespace vmm::control {
namespace {

constexpr int kBacklog = 16;

// Who removes or makes a socket in a directory holds this: between a look and the deed nobody else
// may take the name.
Result<UniqueFd> lock_directory(const std::string& directory, bool make) {
  VMM_TRY(UniqueFd fd, open_directory(directory, make));
  while (::flock(fd.get(), LOCK_EX) < 0) {
    if (errno != EINTR) return fail_errno(errno, fmt::format("lock {}", directory));
  }
  return fd;
}

// Under the lock.
bool is_stale(const std::string& directory, const std::string& name) {
  Result<Client> client = Client::connect_to(directory, name);
  return !client && client.error().kind() == ErrorKind::kNotFound;
}

// With the file as it is in stat() after bind().
[[noreturn]] void wait_and_remove(int alive, const std::string& directory, const std::string& name,
                                  const struct stat& own) {
  char byte;
  while (::read(alive, &byte, 1) < 0 && errno == EINTR) {
  }
  Result<UniqueFd> lock = lock_directory(directory, /*make=*/false);
  const std::string path = socket_path(directory, name);
  struct stat now {};
  // Another machine may have the name by now. Inode numbers are used again, times are not.
  const bool same = ::lstat(path.c_str(), &now) == 0 && now.st_ino == own.st_ino &&
                    now.st_ctim.tv_sec == own.st_ctim.tv_sec &&
                    now.st_ctim.tv_nsec == own.st_ctim.tv_nsec;
  if (lock && same) ::unlink(path.c_str());
  ::_exit(0);
}

// The standard streams belong to whoever reads them, and must not stay open for this.
void close_everything_but(int fd) {
  const unsigned kept = static_cast<unsigned>(fd);
  if (kept > 0) ::close_range(0, kept - 1, 0);
  ::close_range(kept + 1, ~0u, 0);
}

}  // namespace

Result<Listener> Listener::create(const std::string& directory, const std::string& name) {
  VMM_CHECK(check_name(name));
  VMM_TRY(UniqueFd lock, lock_directory(directory, /*make=*/true));
  const std::string path = socket_path(directory, name);
  VMM_TRY(const sockaddr_un address, unix_address(path));
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!is_stale(directory, name)) {
      return fail(ErrorKind::kBusy, fmt::format("a virtual machine named '{}' runs already ({}); "
                                                "'vmm list' shows all",
                                                name, path));
    }
    if (::unlink(path.c_str()) < 0) return fail_errno(errno, fmt::format("remove {}", path));
  }

  Listener listener;
  listener.fd_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener.fd_) return fail_errno(errno, "socket");
  const mode_t before = ::umask(0177);
  const int bound =
      ::bind(listener.fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(before);
  if (bound < 0) return fail_errno(error, path);
  if (::listen(listener.fd_.get(), kBacklog) < 0) return fail_errno(errno, path);
  listener.directory_ = directory;
  listener.name_ = name;
  return listener;
}

Result<void> Listener::remove_at_end() {
  struct stat own {};
  if (::lstat(socket_path(directory_, name_).c_str(), &own) < 0) {
    return fail_errno(errno, socket_path(directory_, name_));
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe");
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
  close_everything_but(reader.get());
  wait_and_remove(reader.get(), directory_, name_, own);
}

bool remove_if_stale(const std::string& directory, const std::string& name) {
  Result<UniqueFd> lock = lock_directory(directory, /*make=*/false);
  if (!lock || !is_stale(directory, name)) return false;
  return ::unlink(socket_path(directory, name).c_str()) == 0;
}

}  // namespace vmm::control
