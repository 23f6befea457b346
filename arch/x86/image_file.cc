// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/image_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vmm::x86 {

Result<ImageFile> ImageFile::open(const std::string& path, const char* flag) {
  std::string name = fmt::format("{} {}", flag, path);
  // Not blocking: a FIFO would otherwise hold up the open until a writer comes.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno(errno, name);
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return fail_errno(errno, name);
  if (S_ISDIR(status.st_mode)) {
    return vmm::fail(ErrorKind::kInvalid, name + ": is a directory, expected a file");
  }
  if (!S_ISREG(status.st_mode)) {
    return vmm::fail(ErrorKind::kInvalid, name + ": is not a regular file");
  }
  return ImageFile(std::move(fd), std::move(name), static_cast<std::uint64_t>(status.st_size));
}

Result<std::size_t> ImageFile::read_some(std::uint64_t offset, std::span<std::byte> to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    ssize_t got =
        ::pread(fd_.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, name_ + ": read");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Result<void> ImageFile::read(std::uint64_t offset, std::span<std::byte> to) const {
  VMM_TRY(std::size_t got, read_some(offset, to));
  if (got == to.size()) return {};
  return fail(ErrorKind::kInvalid, fmt::format("ends at byte {}, in the middle of what its headers "
                                               "promise up to byte {}: is it truncated?",
                                               size_, offset + to.size()));
}

Result<std::size_t> ImageFile::read_start(std::span<std::byte> to) const {
  return read_some(0, to);
}

Unexpected<Error> ImageFile::fail(ErrorKind kind, const std::string& what) const {
  return vmm::fail(kind, name_ + ": " + what);
}

}  // namespace vmm::x86
