// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/io_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "vmm/tools/size.h"

namespace vmm::tools {

namespace {

// Below a second "00.25 sec" unless `long_form`, else "0:00:01.25".
std::string format_elapsed(std::chrono::nanoseconds elapsed, bool long_form) {
  const auto hundredths = static_cast<std::uint64_t>(elapsed.count()) / 10'000'000;
  const std::uint64_t seconds = hundredths / 100;
  if (seconds == 0 && !long_form) return fmt::format("00.{:02} sec", hundredths % 100);
  return fmt::format("{}:{:02}:{:02}.{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                     hundredths % 100);
}

}  // namespace

void print_report(std::FILE* out, const IoReport& report) {
  // A clock that did not move must not divide by zero.
  const double seconds = std::max(1e-9, static_cast<double>(report.elapsed.count()) / 1e9);
  const double bytes_per_second = static_cast<double>(report.done) / seconds;
  const std::string elapsed = format_elapsed(report.elapsed, report.machine_readable);
  if (report.machine_readable) {
    fmt::print(out, "{},1,{},{:.3f},{:.3f}\n", report.done, elapsed, bytes_per_second, 1 / seconds);
    return;
  }
  fmt::print(out, "{} {}/{} bytes at offset {}\n", report.verb, report.done, report.asked,
             report.offset);
  fmt::print(out, "{}, 1 ops; {} ({}/sec and {:.4f} ops/sec)\n",
             format_size(static_cast<double>(report.done)), elapsed, format_size(bytes_per_second),
             1 / seconds);
}

void print_hex_dump(std::FILE* out, std::uint64_t offset, std::span<const std::byte> bytes) {
  constexpr std::size_t kPerLine = 16;
  std::string line;
  for (std::size_t at = 0; at < bytes.size(); at += kPerLine) {
    const auto row = bytes.subspan(at, std::min(kPerLine, bytes.size() - at));
    line = fmt::format("{:08x}:  ", offset + at);
    for (std::byte byte : row) line += fmt::format("{:02x} ", static_cast<unsigned>(byte));
    line += ' ';
    for (std::byte byte : row) {
      const int c = static_cast<int>(byte);
      line += std::isalnum(c) ? static_cast<char>(c) : '.';
    }
    line += '\n';
    std::fwrite(line.data(), 1, line.size(), out);
  }
}

}  // namespace vmm::tools
