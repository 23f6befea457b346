// SPDX-License-Identifier: Apache-2.0
// What the reading and writing commands of the I/O shell have in common.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/tools/io_command.h"
#include "vmm/tools/io_shell.h"

namespace vmm::tools {

// The options of every transfer command, and what each takes.
struct TransferFlags {
  bool machine_readable = false;               // -C
  bool quiet = false;                          // -q
  bool dump = false;                           // -v
  bool fua = false;                            // -f
  bool zeroes = false;                         // -z
  bool may_unmap = false;                      // -u
  bool compressed = false;                     // -c
  bool vmstate = false;                        // -b
  bool no_fallback = false;                    // -n
  bool inject_invalid = false;                 // -i
  std::optional<int> pattern;                  // -P
  std::string source_file;                     // -s of write
  std::uint64_t verify_offset = 0;             // -s of read
  std::optional<std::uint64_t> verify_length;  // -l
  bool verify_range_given = false;             // -s or -l of read
};

// One request with its memory. Requests of aio commands outlive the command that started them.
struct Transfer {
  TransferFlags flags;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // bytes
  std::shared_ptr<IoBuffer> buffer;
  std::vector<iovec> iov;  // into buffer
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  std::chrono::nanoseconds elapsed() const { return std::chrono::steady_clock::now() - start; }
};

// Fills transfer.length, .buffer (with `pattern`) and .iov from length words. Prints why not.
bool make_vector(IoShell& shell, std::span<const std::string> lengths, int pattern,
                 Transfer& transfer);

// Verifies, dumps and reports what was read, as its flags ask. False where the pattern is wrong.
bool finish_read(const Console& console, const Transfer& transfer);
void finish_write(const Console& console, const Transfer& transfer, const char* verb);

// Writes as the flags ask: zeros, compressed, durable.
Task<Result<void>> do_write(OpenedImage& image, const Transfer& transfer);

}  // namespace vmm::tools
