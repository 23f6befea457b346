// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow/header_file.h"

#include "disk/qcow/create.h"
#include "disk/testing/fault_storage.h"
#include "disk/testing/memory_storage.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk::qcow {
namespace {

struct Image {
  Image() {
    MemoryStorage empty(*loop, bytes);
    REQUIRE(loop->run_until(format_image(empty, {.size = 1 << 20, .backing_file = "base"})));
    file = std::make_unique<HeaderFile>(*loop, storage, in_file());
  }
  Header in_file() {
    MemoryStorage memory(*loop, bytes);
    return *loop->run_until(read_header(memory));
  }
  Task<Result<void>> set_size(std::uint64_t size) {
    const HeaderFile::Change change = [size](Header& header) { header.size = size; };
    return file->update(change);
  }
  Task<Result<void>> set_table(std::uint64_t at) {
    const HeaderFile::Change change = [at](Header& header) {
      header.refcount_table_offset = HostOffset(at);
    };
    return file->update(change);
  }
  void fail_from_now_on() {
    fault->once = false;
    fault->hits = [](std::uint64_t, const StorageOp&) { return true; };
  }

  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  std::shared_ptr<MemoryStorage::Bytes> bytes = std::make_shared<MemoryStorage::Bytes>();
  std::shared_ptr<Fault> fault = std::make_shared<Fault>();
  FaultStorage storage{*loop, std::make_unique<MemoryStorage>(*loop, bytes, 3),
                       std::make_shared<Recording>(), fault};
  std::unique_ptr<HeaderFile> file;
};

TEST_CASE("HeaderFile: changes that cross keep each other's fields", "[qcow]") {
  Image image;
  Task<Result<void>> size = image.set_size(2 << 20);
  Task<Result<void>> table = image.set_table(3 << 16);
  Task<Result<void>> size_again = image.set_size(4 << 20);
  CHECK(image.loop->run_until(std::move(table)));
  CHECK(image.loop->run_until(std::move(size)));
  CHECK(image.loop->run_until(std::move(size_again)));
  CHECK(image.file->now().size == 4 << 20);
  CHECK(image.in_file().size == 4 << 20);
  CHECK(image.in_file().refcount_table_offset == HostOffset(3 << 16));
}

TEST_CASE("HeaderFile: a change that fails takes back its own fields and no other", "[qcow]") {
  Image image;
  image.fault->hits = [](std::uint64_t, const StorageOp& op) {
    return op.kind == StorageOp::Kind::kSync;  // the first: the header is in the file by then
  };
  Task<Result<void>> size = image.set_size(2 << 20);
  Task<Result<void>> table = image.set_table(3 << 16);
  CHECK(!image.loop->run_until(std::move(size)));
  CHECK(image.loop->run_until(std::move(table)));
  CHECK(image.file->now().size == 1 << 20);
  CHECK(image.in_file().size == 1 << 20);
  CHECK(image.in_file().refcount_table_offset == HostOffset(3 << 16));
}

TEST_CASE("HeaderFile: after a failure the file is made to agree", "[qcow]") {
  Image image;
  image.fault->hits = [](std::uint64_t, const StorageOp& op) {
    return op.kind == StorageOp::Kind::kSync;
  };
  CHECK(!image.loop->run_until(image.set_size(2 << 20)));
  CHECK(image.in_file().size == 2 << 20);  // written, and not synced
  CHECK(image.loop->run_until(image.file->make_certain()));
  CHECK(image.in_file().size == 1 << 20);
}

TEST_CASE("HeaderFile: a mark that has to stand is written later where it cannot be now",
          "[qcow]") {
  Image image;
  image.fail_from_now_on();
  const HeaderFile::Change mark = [](Header& header) { header.set(Incompatible::kCorrupt, true); };
  CHECK(!image.loop->run_until(image.file->update(mark, HeaderFile::OnFailure::kInsist)));
  CHECK(image.file->now().has(Incompatible::kCorrupt));
  image.fault->hits = nullptr;
  CHECK(image.loop->run_until(image.set_size(2 << 20)));
  CHECK(image.in_file().has(Incompatible::kCorrupt));
}

TEST_CASE("HeaderFile: what does not fit writes nothing", "[qcow]") {
  Image image;
  const HeaderFile::Change longer = [](Header& header) {
    header.extensions.push_back({0x12345678, std::vector<std::byte>(70000)});
  };
  const std::vector<std::byte> before = image.bytes->data;
  CHECK(!image.loop->run_until(image.file->update(longer)));
  CHECK((image.bytes->data == before));
  CHECK(image.loop->run_until(image.set_size(2 << 20)));
}

}  // namespace
}  // namespace vmm::disk::qcow
