// SPDX-License-Identifier: Apache-2.0
// Judged by dosfstools, mtools and blkid, each only where it is installed.
#include "vmm/fat_image.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "vmm/cloud_init.h"
#include "vmm/core/testing/catch.h"

using namespace vmm;

namespace {

struct Done {
  int status = -1;  // 127: there is no such program
  std::string output;
};

Done tool(const std::string& command) {
  Done done;
  FILE* pipe = ::popen(("PATH=$PATH:/usr/sbin:/sbin; " + command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char piece[4096];
  while (const std::size_t got = std::fread(piece, 1, sizeof piece, pipe)) {
    done.output.append(piece, got);
  }
  done.status = WEXITSTATUS(::pclose(pipe));
  return done;
}

// The image as a file, gone at the end.
class ImageFile {
 public:
  explicit ImageFile(const std::vector<std::byte>& image) {
    const int fd = ::mkstemp(path_);
    REQUIRE(::write(fd, image.data(), image.size()) == static_cast<ssize_t>(image.size()));
    ::close(fd);
  }
  ~ImageFile() { ::unlink(path_); }
  std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/fat-test-XXXXXX";
};

void check_with_tools(std::span<const FatFile> files) {
  Result<std::vector<std::byte>> image = make_fat_image("CIDATA", files);
  REQUIRE(image);
  const ImageFile file(*image);
  const Done checked = tool("fsck.fat -nV " + file.path());
  INFO(checked.output);
  CHECK((checked.status == 0 || checked.status == 127));
  const Done label = tool("blkid -p -o value -s LABEL -s TYPE " + file.path());
  INFO(label.output);
  CHECK((label.output == "CIDATA\nvfat\n" || label.status == 127));
  for (const FatFile& each : files) {
    const Done read = tool(fmt::format("mtype -i {} '::{}'", file.path(), each.name));
    INFO(each.name);
    CHECK((read.status == 127 || (read.status == 0 && read.output == each.content)));
  }
}

// Bytes that differ from cluster to cluster.
std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 4096) % 26);
  return text;
}

}  // namespace

TEST_CASE("FAT image: other tools find nothing wrong and read the files back", "[fat]") {
  const FatFile two[] = {{"meta-data", "instance-id: x\n"}, {"user-data", "#cloud-config\n"}};
  check_with_tools(two);
  const FatFile empty[] = {{"user-data", ""}};
  check_with_tools(empty);
  check_with_tools({});
  const std::string long_text = pattern(3 * 4096 + 5), one_cluster = pattern(4096);
  const FatFile more[] = {{"network-config", long_text},
                          {"network-config-2", one_cluster},
                          {"exactly-13-ch", "x"},
                          {"abcdefghijklmnopqrstuvwxyz", long_text}};
  check_with_tools(more);
}

TEST_CASE("FAT image: the largest is still FAT12, and one byte more is refused", "[fat]") {
  const std::string most = pattern(kMaxFatContent - 4096);
  const FatFile files[] = {{"user-data", most}, {"meta-data", "x"}};
  check_with_tools(files);
  const FatFile more[] = {{"user-data", most}, {"meta-data", "x"}, {"vendor-data", "x"}};
  CHECK_FALSE(make_fat_image("CIDATA", more));
  const FatFile long_name[] = {{std::string(27, 'x'), ""}};
  CHECK_FALSE(make_fat_image("CIDATA", long_name));
  CHECK_FALSE(make_fat_image("CIDATACIDATA", {}));
}

TEST_CASE("cloud-init: the instance's id is the machine's name", "[cloud-init]") {
  CHECK(default_meta_data("web-1") == "instance-id: \"web-1\"\nlocal-hostname: \"web-1\"\n");
  CHECK(default_meta_data("a_b") == "instance-id: \"a_b\"\n");  // no host can be called so
  CHECK(default_meta_data("") == "instance-id: nocloud\n");
}

TEST_CASE("cloud-init: nobody can change the seed", "[cloud-init]") {
  Result<UniqueFd> seed = make_seed("#cloud-config\n", "instance-id: x\n");
  REQUIRE(seed);
  CHECK(::write(seed->get(), "x", 1) == -1);
  CHECK(::ftruncate(seed->get(), 0) == -1);
  struct stat status {};
  REQUIRE(::fstat(seed->get(), &status) == 0);
  CHECK(status.st_size % 512 == 0);
}
