// SPDX-License-Identifier: Apache-2.0
#include "disk/image_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace vmm::disk {
namespace {

constexpr off_t kUsed = 100;    // + permission: this process uses it
constexpr off_t kDenied = 200;  // + permission: this process denies it to others

// QEMU's permission bits, by number.
constexpr int kConsistentRead = 0;
constexpr int kWrite = 1;
constexpr int kResize = 3;

struct flock one_byte(short type, off_t at) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = 1;
  return lock;
}

// Whether a line of /proc/PID/fdinfo/N is an OFD lock of this file that covers byte `at`:
// "lock:	1: OFDLCK  ADVISORY  READ -1 08:02:131 100 101"
bool holds_byte(const char* line, const struct stat& file, off_t at) {
  unsigned device_major = 0, device_minor = 0;
  unsigned long long inode = 0, first = 0;
  char last[32] = "";
  if (std::sscanf(line, "lock: %*d: OFDLCK %*s %*s %*d %x:%x:%llu %llu %31s", &device_major,
                  &device_minor, &inode, &first, last) != 5) {
    return false;
  }
  if (device_major != major(file.st_dev) || device_minor != minor(file.st_dev)) return false;
  unsigned long long end = std::strcmp(last, "EOF") == 0 ? ~0ULL : std::strtoull(last, nullptr, 10);
  unsigned long long wanted = static_cast<unsigned long long>(at);
  return inode == file.st_ino && first <= wanted && wanted <= end;
}

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// Whether a process holds the byte, by another descriptor than `asking` of this process.
bool process_holds_byte(const char* pid, const struct stat& file, off_t at, int asking) {
  std::string path = fmt::format("/proc/{}/fdinfo", pid);
  Directory fds(::opendir(path.c_str()), ::closedir);
  if (!fds) return false;
  const bool own = std::strtol(pid, nullptr, 10) == ::getpid();
  while (const dirent* entry = ::readdir(fds.get())) {
    if (own && entry->d_name == std::to_string(asking)) continue;
    File info(std::fopen(fmt::format("{}/{}", path, entry->d_name).c_str(), "re"), std::fclose);
    char line[256];
    while (info && std::fgets(line, sizeof line, info.get()) != nullptr) {
      if (holds_byte(line, file, at)) return true;
    }
  }
  return false;
}

// " by process 123 (name)", or nothing: OFD locks carry no pid, so /proc is searched for who has
// the file open with such a lock. Other users' processes may be hidden.
std::string name_of_holder(int fd, off_t at) {
  struct stat file {};
  if (::fstat(fd, &file) != 0) return "";
  Directory processes(::opendir("/proc"), ::closedir);
  if (!processes) return "";
  while (const dirent* entry = ::readdir(processes.get())) {
    const char* pid = entry->d_name;
    if (pid[0] < '0' || pid[0] > '9' || !process_holds_byte(pid, file, at, fd)) continue;
    char name[64] = "?";
    File comm(std::fopen(fmt::format("/proc/{}/comm", pid).c_str(), "re"), std::fclose);
    if (comm && std::fgets(name, sizeof name, comm.get()) != nullptr) {
      name[std::strcspn(name, "\n")] = '\0';
    }
    return fmt::format(" by process {} ({})", pid, name);
  }
  return "";
}

Result<void> take(int fd, off_t at) {
  struct flock lock = one_byte(F_RDLCK, at);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) {
    return fail(ErrorKind::kBusy, fmt::format("the image is locked{}", name_of_holder(fd, at)));
  }
  return fail_errno(errno, "lock the image");
}

Result<void> check_free(int fd, off_t at, const char* what) {
  struct flock lock = one_byte(F_WRLCK, at);
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) return fail_errno(errno, "check the image's locks");
  if (lock.l_type == F_UNLCK) return {};
  return fail(ErrorKind::kBusy,
              fmt::format("the image is {}{}; stop that first, or open it read-only there and here",
                          what, name_of_holder(fd, at)));
}

}  // namespace

Result<void> lock_image(int fd, LockMode mode) {
  // Everybody takes its own bytes first and looks at the others' afterwards, so two who come at
  // once may both be refused but never both pass.
  VMM_CHECK(take(fd, kUsed + kConsistentRead));
  if (mode == LockMode::kWriter) {
    VMM_CHECK(take(fd, kUsed + kWrite));
    VMM_CHECK(take(fd, kUsed + kResize));
  }
  VMM_CHECK(take(fd, kDenied + kWrite));
  VMM_CHECK(take(fd, kDenied + kResize));

  VMM_CHECK(check_free(fd, kDenied + kConsistentRead, "in exclusive use"));
  if (mode == LockMode::kWriter) {
    VMM_CHECK(check_free(fd, kDenied + kWrite, "in use"));
    VMM_CHECK(check_free(fd, kDenied + kResize, "in use"));
  }
  VMM_CHECK(check_free(fd, kUsed + kWrite, "being written"));
  VMM_CHECK(check_free(fd, kUsed + kResize, "being written"));
  return {};
}

void unlock_image(int fd) {
  struct flock everything {};
  everything.l_type = F_UNLCK;
  everything.l_whence = SEEK_SET;
  (void)::fcntl(fd, F_OFD_SETLK, &everything);
}

}  // namespace vmm::disk
