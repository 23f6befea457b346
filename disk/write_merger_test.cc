// SPDX-License-Identifier: Apache-2.0
#include "disk/write_merger.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>

#include "vmm/core/testing/catch.h"
#include "vmm/core/unique_fd.h"

namespace vmm::disk {
namespace {

constexpr std::uint64_t kBlock = 4096;

UniqueFd temporary_file() {
  char name[] = "/tmp/vmm-write-merger-XXXXXX";
  UniqueFd fd(::mkstemp(name));
  REQUIRE(fd);
  ::unlink(name);
  return fd;
}

std::vector<std::byte> content(int fd) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)));
  REQUIRE(::pread(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

Task<std::int64_t> write_block(WriteMerger& merger, std::uint64_t offset,
                               std::vector<std::byte>& bytes) {
  // In two parts, as guests' buffers come.
  const std::array<iovec, 2> iov = {iovec{bytes.data(), 512},
                                    iovec{bytes.data() + 512, bytes.size() - 512}};
  co_return co_await merger.writev(iov, offset);
}

struct Sent {
  std::uint64_t offset;
  std::vector<std::byte> bytes;
};

std::vector<std::int64_t> write_at_once(EventLoop& loop, int fd, std::vector<Sent>& writes,
                                        bool cached = false) {
  WriteMerger merger(loop, fd, cached);
  std::vector<Task<std::int64_t>> tasks;
  for (Sent& write : writes) tasks.push_back(write_block(merger, write.offset, write.bytes));
  std::vector<std::int64_t> results;
  for (Task<std::int64_t>& task : tasks) results.push_back(loop.run_until(std::move(task)));
  return results;
}

TEST_CASE("WriteMerger: each write lands where it belongs, neighbours or not", "[disk]") {
  for (EventLoop::Backend backend : {EventLoop::Backend::kAuto, EventLoop::Backend::kThreadPool}) {
    std::unique_ptr<EventLoop> loop = *EventLoop::create(backend);
    const UniqueFd fd = temporary_file();
    std::mt19937 random(3);
    std::vector<std::byte> model(1200 * kBlock);
    // All but every seventh block, shuffled: runs of six, and one of 700 that needs several.
    std::vector<Sent> writes;
    for (std::uint64_t i = 0; i < 1200; ++i) {
      if (i < 500 && i % 7 == 0) continue;
      writes.push_back({i * kBlock, std::vector<std::byte>(kBlock, std::byte(1 + i % 251))});
      std::copy(writes.back().bytes.begin(), writes.back().bytes.end(),
                model.begin() + static_cast<std::ptrdiff_t>(i * kBlock));
    }
    std::shuffle(writes.begin(), writes.end(), random);
    for (std::int64_t result : write_at_once(*loop, fd.get(), writes)) {
      // -EAGAIN would be a short write, which a regular file with space does not make.
      REQUIRE(result == static_cast<std::int64_t>(kBlock));
    }
    CHECK(content(fd.get()) == model);
  }
}

// Blocks that are not neighbours.
std::vector<Sent> apart(std::size_t count) {
  std::vector<Sent> writes;
  for (std::size_t i = 0; i < count; ++i) {
    writes.push_back({2 * i * kBlock, std::vector<std::byte>(kBlock, std::byte(1 + i))});
  }
  return writes;
}

// Whether all were written by this thread, without the kernel's help.
bool written_here(std::vector<Sent> writes) {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  const UniqueFd fd = temporary_file();
  for (std::int64_t result : write_at_once(*loop, fd.get(), writes, /*cached=*/true)) {
    CHECK(result == static_cast<std::int64_t>(kBlock));
  }
  const std::vector<std::byte> bytes = content(fd.get());
  for (const Sent& write : writes) {
    CHECK(std::equal(write.bytes.begin(), write.bytes.end(),
                     bytes.begin() + static_cast<std::ptrdiff_t>(write.offset)));
  }
  return loop->backend_name() == std::string("none");
}

TEST_CASE("WriteMerger: a few writes to the page cache are made without the kernel's help",
          "[disk]") {
  CHECK(written_here(apart(1)));
  CHECK(written_here(apart(8)));
  CHECK_FALSE(written_here(apart(9)));
}

TEST_CASE("WriteMerger: writes made here are merged as others are", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  const UniqueFd fd = temporary_file();
  std::vector<Sent> writes = apart(2);  // blocks 0 and 2
  writes.push_back({kBlock, std::vector<std::byte>(kBlock, std::byte{9})});
  CHECK(write_at_once(*loop, fd.get(), writes, /*cached=*/true) ==
        std::vector<std::int64_t>(3, kBlock));
  const std::vector<std::byte> bytes = content(fd.get());
  REQUIRE(bytes.size() == 3 * kBlock);
  CHECK(bytes[0] == std::byte{1});
  CHECK(bytes[kBlock] == std::byte{9});
  CHECK(bytes[2 * kBlock] == std::byte{2});
}

TEST_CASE("WriteMerger: a failure is told to the write that it belongs to", "[disk]") {
  std::unique_ptr<EventLoop> loop = *EventLoop::create();
  const UniqueFd fd = temporary_file();
  std::vector<Sent> writes;
  for (std::uint64_t i = 0; i < 4; ++i) {
    writes.push_back({i * kBlock, std::vector<std::byte>(kBlock, std::byte(1 + i))});
  }
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto* const handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{2 * kBlock + 512, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::vector<std::int64_t> together = write_at_once(*loop, fd.get(), writes);
  const std::vector<std::int64_t> together_here =
      write_at_once(*loop, fd.get(), writes, /*cached=*/true);
  std::vector<Sent> last(writes.end() - 1, writes.end());
  const std::vector<std::int64_t> alone = write_at_once(*loop, fd.get(), last);
  const std::vector<std::int64_t> here = write_at_once(*loop, fd.get(), last, /*cached=*/true);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  ::signal(SIGXFSZ, handler);
  CHECK(together == std::vector<std::int64_t>{kBlock, kBlock, 512, -EAGAIN});
  CHECK(together_here == together);
  CHECK(alone == std::vector<std::int64_t>{-EFBIG});
  CHECK(here == std::vector<std::int64_t>{-EFBIG});
  CHECK(content(fd.get()).size() == 2 * kBlock + 512);
}

}  // namespace
}  // namespace vmm::disk
