// SPDX-License-Identifier: Apache-2.0
// The lines that the I/O shell prints about a finished transfer. Test scripts compare them, so
// every space is as in qemu-io.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>

namespace vmm::tools {

struct IoReport {
  const char* verb;  // "read", "wrote", "discard"
  std::chrono::nanoseconds elapsed;
  std::uint64_t offset;  // bytes
  std::uint64_t asked;   // bytes
  std::uint64_t done;    // bytes
  bool machine_readable = false;
};
void print_report(std::FILE* out, const IoReport& report);

// Lines of 16 bytes, hexadecimal and as text; `offset` is that of the first byte.
void print_hex_dump(std::FILE* out, std::uint64_t offset, std::span<const std::byte> bytes);

}  // namespace vmm::tools
