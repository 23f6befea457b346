// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/testing/images.h"

#include <ftw.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace vmm::bootfind {
namespace {

int remove_one(const char* path, const struct stat*, int, FTW*) {
  return std::remove(path);
}

class Directory {
 public:
  Directory() {
    // The tools sync what they make: that is quick in memory only.
    const bool in_memory = ::access("/dev/shm", W_OK) == 0;
    path_ = std::string(in_memory ? "/dev/shm" : "/tmp") + "/bootfind-images-XXXXXX";
    const bool made =
        ::mkdtemp(path_.data()) != nullptr && std::system((MAKE_IMAGES " " + path_).c_str()) == 0;
    if (made) return;
    std::fprintf(
        stderr, "%s failed: e2fsprogs, dosfstools, mtools, fdisk (scripts/install-packages test)\n",
        MAKE_IMAGES);
    remove();
    std::exit(1);
  }
  ~Directory() { remove(); }

  const std::string& path() const { return path_; }

 private:
  void remove() { ::nftw(path_.c_str(), remove_one, 16, FTW_DEPTH | FTW_PHYS); }

  std::string path_;
};

}  // namespace

std::string image_path(const std::string& name) {
  static const Directory directory;
  return directory.path() + "/" + name;
}

MemorySource load_image(const std::string& name) {
  FileSource file(image_path(name));
  std::vector<std::byte> bytes(file.size());
  if (!file.read(0, bytes)) std::abort();
  return MemorySource(std::move(bytes));
}

}  // namespace vmm::bootfind
