// SPDX-License-Identifier: Apache-2.0
// The commands that ask about the open image, or change it as a whole.
#include <fmt/core.h>

#include <algorithm>

#include "vmm/tools/io_transfer.h"
#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

constexpr std::uint64_t kSector = 512;  // bytes

std::string readable(std::uint64_t bytes) {
  return format_size(static_cast<double>(bytes));
}

// The run of equal allocation from `offset` to `limit` at most.
Task<Result<Allocation>> run_at(OpenedImage& image, std::uint64_t offset, std::uint64_t limit) {
  Allocation run{offset, false};
  while (run.end < limit) {
    VMM_CO_TRY(const Allocation next, co_await image.allocation_at(run.end));
    if (run.end != offset && next.allocated != run.allocated) break;
    run = next;
  }
  run.end = std::min(run.end, limit);
  co_return run;
}

void print_map_line(std::FILE* out, std::uint64_t offset, const Allocation& run) {
  const std::uint64_t length = run.end - offset;
  fmt::print(out, "{} ({:#x}) bytes {} at offset {} ({:#x})\n", readable(length), length,
             run.allocated ? "    allocated" : "not allocated", readable(offset), offset);
}

}  // namespace

namespace io_commands_impl {

bool flush(IoShell& shell, const IoCommand&, const IoWords&) {
  const Result<void> result = shell.wait(shell.image()->disk().flush());
  if (!result) shell.console().error(result.error());
  return result.has_value();
}

bool length(IoShell& shell, const IoCommand&, const IoWords&) {
  fmt::print(shell.console().out, "{}\n", readable(shell.image()->disk().size()));
  return true;
}

bool truncate(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  std::string preallocation = "off";
  OptionReader options(words, "m:", console.err);
  while (char letter = options.next()) {
    if (letter != 'm') return print_usage(console.out, command);
    preallocation = options.value();
  }
  if (options.operands().size() != 1) return print_usage(console.out, command);
  const auto size = read_number(console.out, options.operands()[0]);
  if (!size) return false;
  shell.drain();
  const Result<void> result = shell.wait(shell.image()->truncate(*size, preallocation));
  if (!result) console.error(result.error());
  return result.has_value();
}

bool map(IoShell& shell, const IoCommand&, const IoWords&) {
  OpenedImage& image = *shell.image();
  const std::uint64_t size = image.disk().size();
  for (std::uint64_t offset = 0; offset < size;) {
    const Result<Allocation> run = shell.wait(run_at(image, offset, size));
    if (!run) {
      shell.console().error("Failed to get allocation status: {}", run.error().message());
      return false;
    }
    print_map_line(shell.console().out, offset, *run);
    offset = run->end;
  }
  return true;
}

bool alloc(IoShell& shell, const IoCommand&, const IoWords& words) {
  const Console& console = shell.console();
  OpenedImage& image = *shell.image();
  const auto start = read_number(console.out, words[1]);
  if (!start) return false;
  std::optional<std::uint64_t> count = kSector;
  if (words.size() == 3) count = read_number(console.out, words[2]);
  if (!count) return false;

  const std::uint64_t size = image.disk().size();
  const std::uint64_t asked = *start >= size ? 0 : std::min(*count, size - *start);
  std::uint64_t nr_allocated = 0;
  for (std::uint64_t offset = *start; offset < *start + asked;) {
    const Result<Allocation> run = shell.wait(run_at(image, offset, *start + asked));
    if (!run) {
      console.error("is_allocated failed: {}", run.error().message());
      return false;
    }
    if (run->allocated) nr_allocated += run->end - offset;
    offset = run->end;
  }
  fmt::print(console.out, "{}/{} bytes allocated at offset {}\n", nr_allocated, asked,
             readable(*start));
  return true;
}

bool info(IoShell& shell, const IoCommand&, const IoWords&) {
  for (const std::string& line : shell.image()->info_lines()) {
    fmt::print(shell.console().out, "{}\n", line);
  }
  return true;
}

}  // namespace io_commands_impl
}  // namespace vmm::tools
