// SPDX-License-Identifier: Apache-2.0
#include "vmm/luggage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk/image_lock.h"
#include "vmm/core/testing/catch.h"

namespace vmm {
namespace {

struct TemporaryFile {
  TemporaryFile() : fd(::mkstemp(path)) {}
  ~TemporaryFile() { ::unlink(path); }
  // As another process would see it.
  bool locked() const {
    const UniqueFd other(::open(path, O_RDWR | O_CLOEXEC));
    return !disk::lock_image(other.get(), disk::LockMode::kWriter);
  }

  char path[32] = "/tmp/vmm-luggage-XXXXXX";
  UniqueFd fd;
};

AttachedDisk locked_disk(TemporaryFile& file) {
  REQUIRE(disk::lock_image(file.fd.get(), disk::LockMode::kWriter));
  AttachedDisk disk;
  disk.option = "disk.qcow2,ro";
  disk.files.push_back({"disk.qcow2", std::move(file.fd)});
  return disk;
}

TEST_CASE("Luggage: disks come out as they were put in, and stay locked on the way") {
  Luggage luggage = *Luggage::create();
  CHECK(luggage.take().empty());
  TemporaryFile file;
  REQUIRE(luggage.put(3, locked_disk(file)));
  CHECK(file.locked());
  {
    const std::vector<Luggage::Piece> pieces = luggage.take();
    REQUIRE(pieces.size() == 1);
    CHECK(pieces[0].index == 3);
    CHECK(pieces[0].disk.option == "disk.qcow2,ro");
    REQUIRE(pieces[0].disk.files.size() == 1);
    CHECK(pieces[0].disk.files[0].path == "disk.qcow2");
    CHECK(file.locked());
    CHECK(luggage.take().empty());
  }
  CHECK_FALSE(file.locked());
}

TEST_CASE("Luggage: a disk that ends unlocks its files, even where they are open elsewhere") {
  TemporaryFile file;
  std::vector<control::GivenFile> again;
  {
    const AttachedDisk disk = locked_disk(file);
    again = *disk.open_again();
    CHECK(file.locked());
  }
  CHECK_FALSE(file.locked());
}

}  // namespace
}  // namespace vmm
