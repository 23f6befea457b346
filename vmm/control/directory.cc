// SPDX-License-Identifier: Apache-2.0
#include "vmm/control/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace vmm::control {
namespace {

constexpr std::string_view kSuffix = ".sock";

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

Result<void> check_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxName && is_alphanumeric(name[0]) &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
                    });
  if (good) return {};
  return fail(ErrorKind::kInvalid,
              fmt::format("'{}' is no name for a virtual machine: 1 to {} letters, digits, '.', "
                          "'_' or '-', the first a letter or digit",
                          name, kMaxName));
}

std::vector<std::string> directories() {
  std::vector<std::string> found;
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') found.push_back(std::string(runtime) + "/vmm");
  found.push_back("/run/vmm");
  return found;
}

Result<UniqueFd> open_directory(const std::string& path, bool make) {
  if (make && ::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) {
    return fail_errno(errno, fmt::format("make {}", path));
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fail_errno(errno, path);
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return fail_errno(errno, path);
  if (status.st_uid != ::geteuid()) {
    return fail(ErrorKind::kPermission,
                fmt::format("{} belongs to user {}, not to this one", path, status.st_uid));
  }
  if ((status.st_mode & 077) != 0) {
    return fail(ErrorKind::kPermission,
                fmt::format("{} lets other users in (mode {:03o}): chmod 700 it", path,
                            status.st_mode & 0777));
  }
  return fd;
}

std::string socket_path(const std::string& directory, std::string_view name) {
  return fmt::format("{}/{}{}", directory, name, kSuffix);
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) return names;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (!name.ends_with(kSuffix)) continue;
    name.remove_suffix(kSuffix.size());
    if (check_name(name)) names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace vmm::control
