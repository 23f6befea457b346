// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>

#include "vmm/core/unique_fd.h"

namespace vmm::cli {

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(errno, path);
  std::string text;
  std::array<char, 16384> piece;
  while (true) {
    const ssize_t got = ::read(file.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, path);
    if (got == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(got));
    if (text.size() > limit) {
      return fail(ErrorKind::kInvalid,
                  fmt::format("{}: larger than {} KiB, the limit here", path, limit >> 10));
    }
  }
}

}  // namespace vmm::cli
