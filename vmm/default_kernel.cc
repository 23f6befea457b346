// SPDX-License-Identifier: Apache-2.0
#include "vmm/default_kernel.h"

#include <dirent.h>
#include <fmt/core.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <memory>

namespace vmm {
namespace {

constexpr const char* kPrefix = "vmlinuz-";

// The newest by version sort, in which 6.10 follows 6.9; empty where there is none.
std::string newest_kernel(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  std::string newest;
  if (!stream) return newest;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string name = entry->d_name;
    if (!name.starts_with(kPrefix)) continue;
    if (newest.empty() || ::strverscmp(name.c_str(), newest.c_str()) > 0) newest = name;
  }
  return newest;
}

}  // namespace

Result<std::string> find_default_kernel(const std::string& directory, const std::string& release) {
  std::string wanted = release;
  if (wanted.empty()) {
    utsname host{};
    ::uname(&host);
    wanted = host.release;
  }
  std::string path = fmt::format("{}/{}{}", directory, kPrefix, wanted);
  if (::access(path.c_str(), F_OK) == 0) return path;
  std::string newest = newest_kernel(directory);
  if (!newest.empty()) return directory + "/" + newest;
  return fail(ErrorKind::kNotFound,
              fmt::format("no --kernel given, and there is neither {} nor any other {}/{}*", path,
                          directory, kPrefix));
}

}  // namespace vmm
