// SPDX-License-Identifier: Apache-2.0
#include "disk/file_storage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

#include "disk/aligned_buffer.h"
#include "disk/open_disk.h"
#include "disk/qcow/create.h"
#include "disk/testing/loop_device.h"
#include "vmm/core/testing/catch.h"

namespace vmm::disk {
namespace {

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/vmm-disk-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Directory() { [[maybe_unused]] int done = ::system(("rm -r " + path_).c_str()); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string make(const std::string& name, std::uint64_t size) const {
    UniqueFd fd(::open(file(name).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
    return file(name);
  }

 private:
  std::string path_;
};

std::string error_of(EventLoop& loop, DiskOptions options) {
  Result<std::unique_ptr<Disk>> disk = loop.run_until(open_disk(loop, std::move(options)));
  if (disk) {
    (void)loop.run_until((*disk)->close());
    return "";
  }
  return disk.error().message();
}

TEST_CASE("FileStorage: class L: any offset, length and address works with O_DIRECT", "[disk]") {
  for (EventLoop::Backend backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    Directory directory;
    const std::string path = directory.make("direct", 10000);
    FileOptions options;
    options.direct = true;
    Result<std::unique_ptr<FileStorage>> file = FileStorage::open(*loop, path, options);
    if (!file) return;  // a file system without O_DIRECT
    std::vector<std::byte> model(200000);
    std::mt19937 random(7);
    for (int i = 0; i < 200; ++i) {
      const std::size_t offset = random() % 150000;
      const std::size_t length = 1 + random() % (i % 3 == 0 ? 50000 : 700);
      std::vector<std::byte> data(length, static_cast<std::byte>(i + 1));
      const std::size_t cut = random() % length;
      const std::vector<iovec> iov{{data.data(), cut}, {data.data() + cut, length - cut}};
      REQUIRE(loop->run_until((*file)->writev(offset, iov)));
      std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
      const std::size_t from = random() % 150000;
      std::vector<std::byte> seen(1 + random() % 50000, std::byte{0xee});
      iovec whole = as_iovec(std::span<std::byte>(seen));
      REQUIRE(loop->run_until((*file)->readv(from, IoVec(&whole, 1))));
      REQUIRE(
          std::equal(seen.begin(), seen.end(), model.begin() + static_cast<std::ptrdiff_t>(from)));
    }
  }
}

struct BlockChange {
  enum class Kind { kWrite, kZero, kPunch };
  Kind kind = Kind::kWrite;
  std::uint64_t offset = 0, length = 0;
  int delay = 0;  // turns of the loop
};

Task<void> make_change(FileStorage& file, EventLoop& loop, BlockChange change, char byte,
                       bool& failed) {
  for (int i = 0; i < change.delay; ++i) co_await loop.yield();
  if (change.kind == BlockChange::Kind::kZero) {
    failed |= !co_await file.write_zeroes(change.offset, change.length);
  } else if (change.kind == BlockChange::Kind::kPunch) {
    const Result<bool> punched = co_await file.punch(change.offset, change.length);
    failed |= !punched;
  } else {
    AlignedBuffer bytes(change.length);
    std::memset(bytes.data(), byte, bytes.size());
    iovec whole = bytes.as_iovec();
    failed |= !co_await file.writev(change.offset, IoVec(&whole, 1));
  }
}

// Makes both changes at once on bytes of '.', and says what is wrong then: each byte must be what
// one of those left that cover it.
std::string make_both(FileStorage& file, EventLoop& loop, const BlockChange& a,
                      const BlockChange& b) {
  constexpr std::uint64_t kSize = 5 * 4096;
  AlignedBuffer all(kSize);
  std::memset(all.data(), '.', kSize);
  iovec whole = all.as_iovec();
  if (!loop.run_until(file.writev(0, IoVec(&whole, 1)))) return "cannot write";
  bool failed = false;
  Gate gate(loop);
  spawn(gate, make_change(file, loop, a, 'a', failed));
  spawn(gate, make_change(file, loop, b, 'b', failed));
  loop.run_until(gate.close());
  if (failed || !loop.run_until(file.readv(0, IoVec(&whole, 1)))) return "an operation failed";
  const auto covers = [](const BlockChange& change, std::uint64_t at) {
    return at >= change.offset && at < change.offset + change.length;
  };
  const auto makes = [](const BlockChange& change, char byte, char seen) {
    if (change.kind == BlockChange::Kind::kWrite) return seen == byte;
    return seen == 0 || (change.kind == BlockChange::Kind::kPunch && seen == '.');
  };
  for (std::uint64_t at = 0; at < kSize; ++at) {
    const char seen = static_cast<char>(all.data()[at]);
    const bool in_a = covers(a, at), in_b = covers(b, at);
    const bool good =
        in_a || in_b ? (in_a && makes(a, 'a', seen)) || (in_b && makes(b, 'b', seen)) : seen == '.';
    if (!good) return "byte " + std::to_string(at) + " is " + std::to_string(int{seen});
  }
  return "";
}

// 4096 bytes a block. Both orders, and some turns between.
void check_neighbours(EventLoop& loop, const std::string& path, const FileOptions& options) {
  using Kind = BlockChange::Kind;
  std::unique_ptr<FileStorage> file = *FileStorage::open(loop, path, options);
  REQUIRE(file->alignment() == 4096);
  const BlockChange parts[] = {{Kind::kWrite, 512, 512},
                               {Kind::kWrite, 4096 + 100, 2 * 4096},
                               {Kind::kWrite, 3 * 4096 - 512, 1024},
                               {Kind::kWrite, 0, 1536}};
  const BlockChange others[] = {
      {Kind::kWrite, 0, 4096},        {Kind::kWrite, 4096, 2 * 4096}, {Kind::kWrite, 0, 5 * 4096},
      {Kind::kZero, 0, 4096},         {Kind::kZero, 2048, 512},       {Kind::kZero, 3 * 4096, 4096},
      {Kind::kPunch, 4096, 2 * 4096}, {Kind::kPunch, 3 * 4096, 512},  {Kind::kWrite, 3072, 512},
      {Kind::kWrite, 4096, 4096},     {Kind::kZero, 1024, 3 * 4096}};
  for (const BlockChange& part : parts) {
    for (const BlockChange& other : others) {
      for (int delay = -4; delay <= 4; ++delay) {
        BlockChange a = part, b = other;
        (delay < 0 ? a.delay : b.delay) = std::abs(delay);
        CAPTURE(a.offset, a.length, static_cast<int>(b.kind), b.offset, b.length, delay);
        CHECK(make_both(*file, loop, a, b) == "");
        CHECK(make_both(*file, loop, b, a) == "");
      }
    }
  }
}

TEST_CASE("FileStorage: writes beside one of a part of a block are neither lost nor undone",
          "[disk]") {
  for (EventLoop::Backend backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    Directory directory;
    FileOptions options;
    options.block_size = 4096;
    check_neighbours(*loop, directory.make("blocks", 5 * 4096), options);
  }
}

TEST_CASE("FileStorage: the same on a device with sectors of 4096 bytes", "[disk]") {
  const LoopDevice device(5 * 4096, 4096);
  if (device.path().empty()) {
    WARN("skipped: no loop device with sectors of 4096 bytes can be made; it needs root");
    return;
  }
  for (EventLoop::Backend backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    FileOptions options;
    options.direct = true;
    check_neighbours(*loop, device.path(), options);
  }
}

TEST_CASE("FileStorage: what lies beyond the end reads as zeros, holes are told from data",
          "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Directory directory;
  Result<std::unique_ptr<FileStorage>> file =
      FileStorage::open(*loop, directory.make("sparse", 1 << 20), {});
  REQUIRE(file);
  std::vector<std::byte> data(8192, std::byte{1});
  iovec whole = as_iovec(std::span<std::byte>(data));
  REQUIRE(loop->run_until((*file)->writev(0, IoVec(&whole, 1))));
  REQUIRE(loop->run_until((*file)->readv((1 << 20) - 100, IoVec(&whole, 1))));
  CHECK(data == std::vector<std::byte>(8192));
  Result<bool> punched = loop->run_until((*file)->punch(0, 4096));
  REQUIRE(punched);
  REQUIRE(loop->run_until((*file)->readv(0, IoVec(&whole, 1))));
  if (*punched) CHECK(data[0] == std::byte{0});
  CHECK(data[4096] == std::byte{1});
  REQUIRE(loop->run_until((*file)->write_zeroes(4096, 4096)));
  REQUIRE(loop->run_until((*file)->readv(0, IoVec(&whole, 1))));
  CHECK(data[4096] == std::byte{0});
  CHECK((*file)->extent_at(512 << 10)->end == 1 << 20);
}

TEST_CASE("FileStorage: a few reads of what is in the page cache need no ring", "[disk]") {
  Directory directory;
  const std::string path = directory.make("cached", 0);
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const std::vector<std::byte> content(256 << 10, std::byte{7});
  REQUIRE(::pwrite(fd.get(), content.data(), content.size(), 0) ==
          static_cast<ssize_t>(content.size()));
  std::byte byte;
  const iovec probe{&byte, 1};
  if (::preadv2(fd.get(), &probe, 1, 0, RWF_NOWAIT) < 0) {
    WARN("this file system cannot say that it would have to wait");
    return;
  }
  // Whether that many reads of one turn were made without the ring.
  const auto at_once = [&](int count, std::uint64_t offset, std::size_t length) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create();
    std::unique_ptr<FileStorage> file = *FileStorage::open(*loop, path, {});
    for (int i = 0; i < count; ++i) {
      std::vector<std::byte> bytes(length);
      const iovec iov{bytes.data(), bytes.size()};
      REQUIRE(loop->run_until(file->readv(offset, IoVec(&iov, 1))));
      for (std::size_t at = 0; at < length; ++at) {
        if (bytes[at] != std::byte(offset + at < content.size() ? 7 : 0)) FAIL(at);
      }
    }
    return loop->backend_name() == std::string("none");
  };
  CHECK(at_once(4, 8192, 4096));
  CHECK_FALSE(at_once(5, 8192, 4096));
  CHECK_FALSE(at_once(1, content.size() - 1000, 4096));
  CHECK_FALSE(at_once(1, 0, 128 << 10));
}

TEST_CASE("open_disk: an image that is written is locked, and the holder is named", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Directory directory;
  DiskOptions options;
  options.path = directory.make("locked", 1 << 20);
  options.format = Format::kRaw;
  Result<std::unique_ptr<Disk>> disk = loop->run_until(open_disk(*loop, options));
  REQUIRE(disk);
  const std::string refused = error_of(*loop, options);
  INFO(refused);
  CHECK(refused.find("in use by process " + std::to_string(::getpid())) != std::string::npos);
  options.read_only = true;
  CHECK(error_of(*loop, options).find("being written") != std::string::npos);
  options.lock = false;
  CHECK(error_of(*loop, options).empty());
  disk->reset();
  options.lock = true;
  CHECK(error_of(*loop, options).empty());
}

TEST_CASE("FileStorage: its lock does not outlive it, whoever still refers to the open file",
          "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Directory directory;
  const std::string path = directory.make("locked", 1 << 20);
  Result<std::unique_ptr<FileStorage>> first = FileStorage::open(*loop, path, {});
  REQUIRE(first);
  const UniqueFd still_open(::dup((*first)->fd()));
  CHECK_FALSE(FileStorage::open(*loop, path, {}));
  first->reset();
  CHECK(FileStorage::open(*loop, path, {}));
}

TEST_CASE("open_disk: wrong files get an error that names them", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Directory directory;
  DiskOptions options;
  options.path = directory.file("missing");
  CHECK(error_of(*loop, options).find("missing: open for writing: No such file") !=
        std::string::npos);
  options.path = directory.file(".");
  CHECK(error_of(*loop, options).find("is a directory") != std::string::npos);
  options.path = directory.make("short", 50);
  options.format = Format::kQcow2;
  CHECK(error_of(*loop, options).find("truncated") != std::string::npos);
  options.path = directory.make("zeros", 4096);
  CHECK(error_of(*loop, options).find("not a qcow2 image") != std::string::npos);
  options.path = "/dev/null";
  CHECK(error_of(*loop, options).find("neither a regular file") != std::string::npos);
}

Task<Result<void>> make_overlay(EventLoop& loop, std::string path, std::string backing) {
  FileOptions options;
  options.create = true;
  VMM_CO_TRY(std::unique_ptr<FileStorage> file, FileStorage::open(loop, path, options));
  qcow::FormatOptions format;
  format.size = 1 << 20;
  format.backing_file = backing;
  format.backing_format = "qcow2";
  co_return co_await qcow::format_image(*file, format);
}

TEST_CASE("open_disk: class M: backing names are relative to the overlay, circles are found",
          "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Directory directory;
  REQUIRE(loop->run_until(make_overlay(*loop, directory.file("base"), "")));
  REQUIRE(loop->run_until(make_overlay(*loop, directory.file("top"), "base")));
  DiskOptions options;
  options.path = directory.file("top");
  CHECK(error_of(*loop, options).empty());
  options.backing = BackingPolicy::kRefuse;
  CHECK(error_of(*loop, options).find("backing=off") != std::string::npos);
  options.backing = BackingPolicy::kOpen;
  REQUIRE(loop->run_until(make_overlay(*loop, directory.file("base"), "top")));
  options.read_only = true;
  CHECK(error_of(*loop, options).find("circle") != std::string::npos);
  REQUIRE(loop->run_until(make_overlay(*loop, directory.file("top"), "nbd:localhost:1")));
  CHECK(error_of(*loop, options).find("only local files") != std::string::npos);
  REQUIRE(
      loop->run_until(make_overlay(*loop, directory.file("top"), "json:{\"driver\":\"file\"}")));
  CHECK(error_of(*loop, options).find("only local files") != std::string::npos);
}

Task<Result<std::byte>> first_byte(Disk& disk) {
  std::vector<std::byte> data(512);
  iovec iov = as_iovec(std::span<std::byte>(data));
  VMM_CO_CHECK(co_await disk.readv(0, IoVec(&iov, 1)));
  co_return data[0];
}

TEST_CASE("open_disk: a temporary overlay takes the writes and leaves the image alone", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  Directory directory;
  DiskOptions options;
  options.path = directory.make("raw", 1 << 20);
  options.format = Format::kRaw;
  options.temporary = true;
  Result<std::unique_ptr<Disk>> disk = loop->run_until(open_disk(*loop, options));
  REQUIRE(disk);
  CHECK(!(*disk)->read_only());
  std::vector<std::byte> data(4096, std::byte{7});
  iovec iov = as_iovec(std::span<std::byte>(data));
  REQUIRE(loop->run_until((*disk)->writev(0, IoVec(&iov, 1))));
  CHECK(*loop->run_until(first_byte(**disk)) == std::byte{7});
  REQUIRE(loop->run_until((*disk)->close()));
  disk->reset();
  options.temporary = false;
  options.read_only = true;
  disk = loop->run_until(open_disk(*loop, options));
  REQUIRE(disk);
  CHECK(*loop->run_until(first_byte(**disk)) == std::byte{0});
  REQUIRE(loop->run_until((*disk)->close()));
}

TEST_CASE("FileStorage: a sync that failed is never followed by one that succeeds", "[disk]") {
  for (EventLoop::Backend backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    Directory directory;
    const std::string path = directory.make("image", 4096);
    std::unique_ptr<FileStorage> file = *FileStorage::open(*loop, path, {});
    REQUIRE(loop->run_until(file->sync()));
    // A pipe in the file's place: it cannot be synced.
    UniqueFd kept(::dup(file->fd()));
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const UniqueFd reader(ends[0]), writer(ends[1]);
    REQUIRE(::dup2(writer.get(), file->fd()) == file->fd());
    CHECK(!loop->run_until(file->sync()));
    REQUIRE(::dup2(kept.get(), file->fd()) == file->fd());
    Result<void> again = loop->run_until(file->sync());
    REQUIRE(!again);
    CHECK(again.error().os_errno() == EINVAL);
    file.reset();
    kept.reset();
    file = *FileStorage::open(*loop, path, {});
    CHECK(loop->run_until(file->sync()));
  }
}

}  // namespace
}  // namespace vmm::disk
