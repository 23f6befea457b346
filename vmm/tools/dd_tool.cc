// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/dd_tool.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "disk/whole_sectors.h"
#include "vmm/tools/aligned_buffer.h"
#include "vmm/tools/create_image.h"
#include "vmm/tools/session.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kMaxBlock = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kChunk = 2 << 20;  // bytes copied at once

struct Operands {
  std::string in;
  std::string out;
  std::uint64_t block = 512;
  std::optional<std::uint64_t> count;  // blocks
  std::uint64_t skip = 0;              // blocks
};

Result<std::uint64_t> number(const std::string& name, const std::string& text) {
  const Result<std::uint64_t> value = parse_size(text, 1);
  if (value) return *value;
  return fail(ErrorKind::kInvalid, fmt::format("invalid number: '{}={}'", name, text));
}

Result<Operands> parse(const std::vector<std::string>& words) {
  Operands operands;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const std::string value = equals == word.npos ? "" : word.substr(equals + 1);
    if (equals == word.npos) {
      return fail(ErrorKind::kInvalid, fmt::format("unrecognized operand {}", word));
    }
    if (name == "if") {
      operands.in = value;
    } else if (name == "of") {
      operands.out = value;
    } else if (name == "bs") {
      VMM_TRY(operands.block, number(name, value));
      if (operands.block == 0 || operands.block > kMaxBlock) {
        return fail(ErrorKind::kInvalid,
                    fmt::format("bs={}: a block has 1 to {} bytes", value, kMaxBlock));
      }
    } else if (name == "count") {
      VMM_TRY(operands.count, number(name, value));
    } else if (name == "skip") {
      VMM_TRY(operands.skip, number(name, value));
    } else {
      return fail(ErrorKind::kInvalid,
                  fmt::format("unrecognized operand {}; use if=, of=, bs=, count=, skip=", name));
    }
  }
  if (operands.in.empty() || operands.out.empty()) {
    return fail(ErrorKind::kInvalid, "Must specify both input and output files: if= and of=");
  }
  return operands;
}

// Bytes of the source that are copied, as offsets. `count` counts from the source's start, as
// qemu-img has it.
struct Range {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
};

Range range_of(const Operands& operands, std::uint64_t size, const Console& console) {
  Range range{.to = size};
  std::uint64_t limit;
  if (operands.count && !__builtin_mul_overflow(*operands.count, operands.block, &limit)) {
    range.to = std::min(size, limit);
  }
  if (__builtin_mul_overflow(operands.skip, operands.block, &range.from) || range.from > range.to) {
    console.error("{}: cannot skip to specified offset", operands.in);
    range.from = range.to;
  }
  return range;
}

Task<Result<void>> copy(disk::Disk& source, Range range, disk::Disk& target) {
  const AlignedBuffer buffer(kChunk);
  if (!buffer) co_return fail(ErrorKind::kInvalid, "no memory for the copy");
  for (std::uint64_t at = range.from; at < range.to;) {
    const std::uint64_t length = std::min(kChunk, range.to - at);
    const iovec iov{buffer.data(), length};
    Result<void> done = co_await source.readv(at, IoVec(&iov, 1));
    if (!done) {
      co_return Unexpected(std::move(done).error().with_context("error while reading the source"));
    }
    done = co_await target.writev(at - range.from, IoVec(&iov, 1));
    if (!done) {
      co_return Unexpected(std::move(done).error().with_context("error while writing the target"));
    }
    at += length;
  }
  co_return Result<void>();
}

Result<int> run(const DdConfig& config, const Console& console) {
  VMM_TRY(const Operands operands, parse(config.operands));
  VMM_TRY(Session session, Session::start());
  ImageOptions options = config.source;
  options.path = operands.in;
  options.read_only = true;
  VMM_TRY(const auto source, session.open(std::move(options)));
  const Range range = range_of(operands, source->disk().size(), console);
  NewImage image;
  image.path = operands.out;
  if (!config.target_format.empty()) image.format = config.target_format;
  VMM_TRY(image.size, disk::whole_sectors(range.to - range.from));
  options = {.path = image.path, .format = image.format};
  VMM_CHECK(session.wait(create_image(session.loop(), std::move(image))));
  VMM_TRY(const auto target, session.open(std::move(options)));
  VMM_CHECK(session.wait(copy(source->disk(), range, target->disk())));
  VMM_CHECK(session.close(*target));
  VMM_CHECK(session.close(*source));
  return 0;
}

}  // namespace

int run_dd(const DdConfig& config, const Console& console) {
  return finish(console, run(config, console));
}

}  // namespace vmm::tools
