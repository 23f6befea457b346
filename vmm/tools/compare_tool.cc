// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/compare_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "vmm/tools/aligned_buffer.h"
#include "vmm/tools/block_status.h"
#include "vmm/tools/progress.h"
#include "vmm/tools/session.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kChunk = 2 << 20;  // bytes read at once from each image
constexpr std::uint64_t kSector = 512;     // bytes; what a mismatch is reported in
constexpr int kSame = 0;
constexpr int kDifferent = 1;
constexpr int kOpenFailed = 2;
constexpr int kReadFailed = 4;

// What a comparison found: nothing, or a line and an exit status.
struct Finding {
  int status = kSame;
  std::string line;
};

Finding mismatch(std::uint64_t offset) {
  return {kDifferent, fmt::format("Content mismatch at offset {}!", offset)};
}

// One side of the comparison.
struct Side {
  disk::Disk& disk;
  const char* path;
  AlignedBuffer buffer = AlignedBuffer(kChunk);

  Task<Result<void>> read(std::uint64_t offset, std::uint64_t length) {
    const iovec iov{buffer.data(), length};
    co_return co_await disk.readv(offset, IoVec(&iov, 1));
  }
};

Finding failed_read(const char* path, std::uint64_t offset, const Error& error) {
  return {kReadFailed,
          fmt::format("Error while reading offset {} of {}: {}", offset, path, error.message())};
}

// The first sector in which the two differ, if there is one.
std::optional<std::uint64_t> first_difference(const std::byte* a, const std::byte* b,
                                              std::uint64_t length) {
  if (std::memcmp(a, b, length) == 0) return std::nullopt;
  std::uint64_t at = 0;
  while (std::memcmp(a + at, b + at, std::min(kSector, length - at)) == 0) at += kSector;
  return at;
}

// Bytes of `side` that are not zero, in [offset, offset + length).
Task<Finding> check_zero(Side& side, std::uint64_t offset, std::uint64_t length) {
  for (std::uint64_t at = 0; at < length; at += kChunk) {
    const std::uint64_t size = std::min(kChunk, length - at);
    const Result<void> read = co_await side.read(offset + at, size);
    if (!read) co_return failed_read(side.path, offset + at, read.error());
    const iovec bytes{side.buffer.data(), size};
    if (is_zero(IoVec(&bytes, 1))) continue;
    std::uint64_t sector = 0;
    const auto sector_is_zero = [&] {
      const iovec part{side.buffer.data() + sector, std::min(kSector, size - sector)};
      return is_zero(IoVec(&part, 1));
    };
    while (sector_is_zero()) sector += kSector;
    co_return mismatch(offset + at + sector);
  }
  co_return Finding();
}

Task<Finding> compare_data(Side& a, Side& b, std::uint64_t offset, std::uint64_t length) {
  for (std::uint64_t at = 0; at < length; at += kChunk) {
    const std::uint64_t size = std::min(kChunk, length - at);
    Task<Result<void>> first = a.read(offset + at, size);
    Task<Result<void>> second = b.read(offset + at, size);
    const Result<void> first_read = co_await first;
    const Result<void> second_read = co_await second;
    if (!first_read) co_return failed_read(a.path, offset + at, first_read.error());
    if (!second_read) co_return failed_read(b.path, offset + at, second_read.error());
    const auto difference = first_difference(a.buffer.data(), b.buffer.data(), size);
    if (difference) co_return mismatch(offset + at + *difference);
  }
  co_return Finding();
}

Task<Finding> compare_common(Side& a, Side& b, bool strict, Progress& progress) {
  const std::uint64_t end = std::min(a.disk.size(), b.disk.size());
  for (std::uint64_t offset = 0; offset < end;) {
    const auto of_a = co_await merged_block_status(a.disk, offset, end);
    if (!of_a) co_return failed_read(a.path, offset, of_a.error());
    const auto of_b = co_await merged_block_status(b.disk, offset, end);
    if (!of_b) co_return failed_read(b.path, offset, of_b.error());
    const std::uint64_t length = std::min(of_a->length, of_b->length);
    if (strict && (of_a->zero != of_b->zero || of_a->present != of_b->present)) {
      co_return Finding{kDifferent,
                        fmt::format("Strict mode: Offset {} block status mismatch!", offset)};
    }
    Finding finding;
    if (of_a->zero && of_b->zero) {
      // Nothing to read.
    } else if (of_a->zero) {
      finding = co_await check_zero(b, offset, length);
    } else if (of_b->zero) {
      finding = co_await check_zero(a, offset, length);
    } else {
      finding = co_await compare_data(a, b, offset, length);
    }
    if (finding.status != kSame) co_return finding;
    offset += length;
    progress.advance(length);
  }
  co_return Finding();
}

// What the longer image has beyond the shorter one must be zeros.
Task<Finding> check_tail(Side& longer, std::uint64_t from, Progress& progress) {
  const std::uint64_t end = longer.disk.size();
  for (std::uint64_t offset = from; offset < end;) {
    const auto status = co_await merged_block_status(longer.disk, offset, end);
    if (!status) co_return failed_read(longer.path, offset, status.error());
    if (!status->zero) {
      const Finding finding = co_await check_zero(longer, offset, status->length);
      if (finding.status != kSame) co_return finding;
    }
    offset = status->end();
    progress.advance(status->length);
  }
  co_return Finding();
}

Task<Finding> compare(disk::Disk& first, disk::Disk& second, const CompareConfig& config,
                      const Console& console) {
  Side a{first, config.first.path.c_str()};
  Side b{second, config.second.path.c_str()};
  if (config.strict && first.size() != second.size()) {
    co_return Finding{kDifferent, "Strict mode: Image size mismatch!"};
  }
  Progress progress(console.out, config.progress && !console.quiet,
                    std::max(first.size(), second.size()));
  Finding finding = co_await compare_common(a, b, config.strict, progress);
  if (finding.status == kSame && first.size() != second.size()) {
    console.print("Warning: Image size mismatch!\n");
    Side& longer = first.size() > second.size() ? a : b;
    finding = co_await check_tail(longer, std::min(first.size(), second.size()), progress);
  }
  co_return finding;
}

}  // namespace

int run_compare(const CompareConfig& config, const Console& console) {
  Result<Session> session = Session::start();
  if (!session) return finish(console, Unexpected(std::move(session).error()));
  const auto open = [&](ImageOptions options) {
    options.read_only = true;
    return session->open(std::move(options));
  };
  auto first = open(config.first);
  if (!first) {
    console.error(first.error());
    return kOpenFailed;
  }
  auto second = open(config.second);
  if (!second) {
    console.error(second.error());
    return kOpenFailed;
  }
  Finding finding = session->wait(compare((*first)->disk(), (*second)->disk(), config, console));
  if (finding.status == kSame) finding.line = "Images are identical.";
  if (finding.status > kDifferent) {
    console.error("{}", finding.line);
  } else {
    console.print("{}\n", finding.line);
  }
  for (OpenedImage* image : {first->get(), second->get()}) {
    const Result<void> closed = session->close(*image);
    if (!closed) return finish(console, Unexpected(closed.error()));
  }
  return finding.status;
}

}  // namespace vmm::tools
