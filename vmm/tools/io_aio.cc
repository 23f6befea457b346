// SPDX-License-Identifier: Apache-2.0
// aio_read and aio_write: requests that go on beside the commands that follow.
#include <fmt/core.h>

#include "vmm/tools/io_transfer.h"

namespace vmm::tools {

namespace {

constexpr int kReadPattern = 0xab;
constexpr int kDefaultPattern = 0xcd;

// The shell waits for its gate before the image goes away, so that references stay good.
Task<void> run_read(IoShell& shell, Transfer transfer) {
  const Result<void> result = co_await shell.image()->disk().readv(transfer.offset, transfer.iov);
  if (result) {
    finish_read(shell.console(), transfer);
  } else {
    shell.failed("readv", result.error());
  }
}

Task<void> run_write(IoShell& shell, Transfer transfer) {
  const Result<void> result = co_await do_write(*shell.image(), transfer);
  if (result) {
    finish_write(shell.console(), transfer, "wrote");
  } else {
    shell.failed("aio_write", result.error());
  }
}

}  // namespace

namespace io_commands_impl {

bool aio_read(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  TransferFlags& flags = transfer.flags;
  OptionReader options(words, "CP:iqv", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'C':
        flags.machine_readable = true;
        break;
      case 'i':
        flags.inject_invalid = true;
        break;
      case 'P':
        flags.pattern = read_pattern(console.out, options.value());
        if (!flags.pattern) return false;
        break;
      case 'q':
        flags.quiet = true;
        break;
      case 'v':
        flags.dump = true;
        break;
      default:
        return print_usage(console.out, command);
    }
  }
  if (flags.inject_invalid) {
    fmt::print(console.out, "injecting invalid read request\n");
    return true;
  }
  const auto& operands = options.operands();
  if (operands.size() < 2) return print_usage(console.out, command);
  const auto offset = read_number(console.out, operands[0]);
  if (!offset) return false;
  transfer.offset = *offset;
  if (!make_vector(shell, std::span(operands).subspan(1), kReadPattern, transfer)) return false;
  transfer.start = std::chrono::steady_clock::now();
  spawn(shell.gate(), run_read(shell, std::move(transfer)));
  return true;
}

bool aio_write(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  TransferFlags& flags = transfer.flags;
  OptionReader options(words, "CfiP:quz", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'C':
        flags.machine_readable = true;
        break;
      case 'f':
        flags.fua = true;
        break;
      case 'i':
        flags.inject_invalid = true;
        break;
      case 'P':
        flags.pattern = read_pattern(console.out, options.value());
        if (!flags.pattern) return false;
        break;
      case 'q':
        flags.quiet = true;
        break;
      case 'u':
        flags.may_unmap = true;
        break;
      case 'z':
        flags.zeroes = true;
        break;
      default:
        return print_usage(console.out, command);
    }
  }
  const auto refuse = [&](const char* why) {
    fmt::print(console.out, "{}\n", why);
    return false;
  };
  const auto& operands = options.operands();
  if (operands.size() < 2) return print_usage(console.out, command);
  if (flags.zeroes && operands.size() != 2) {
    return refuse("-z supports only a single length parameter");
  }
  if (flags.may_unmap && !flags.zeroes) return refuse("-u requires -z to be specified");
  if (flags.inject_invalid) {
    fmt::print(console.out, "injecting invalid write request\n");
    return true;
  }
  const auto offset = read_number(console.out, operands[0]);
  if (!offset) return false;
  transfer.offset = *offset;
  if (flags.zeroes) {
    const auto length = read_number(console.out, operands[1]);
    if (!length) return false;
    transfer.length = *length;
  } else if (!make_vector(shell, std::span(operands).subspan(1),
                          flags.pattern.value_or(kDefaultPattern), transfer)) {
    return false;
  }
  transfer.start = std::chrono::steady_clock::now();
  spawn(shell.gate(), run_write(shell, std::move(transfer)));
  return true;
}

bool aio_flush(IoShell& shell, const IoCommand&, const IoWords&) {
  shell.drain();
  return true;
}

}  // namespace io_commands_impl
}  // namespace vmm::tools
