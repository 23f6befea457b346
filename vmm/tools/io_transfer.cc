// SPDX-License-Identifier: Apache-2.0
#include "vmm/tools/io_transfer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vmm/core/unique_fd.h"
#include "vmm/tools/io_report.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace vmm::tools {

namespace {

constexpr std::uint64_t kSector = 512;  // bytes
constexpr int kReadPattern = 0xab;      // what a read must overwrite
constexpr int kDefaultPattern = 0xcd;   // what is written where nothing else is asked for

bool sector_aligned(std::FILE* out, std::uint64_t value, const char* name) {
  if (value % kSector == 0) return true;
  fmt::print(out, "{} is not a sector-aligned value for '{}'\n", value, name);
  return false;
}

bool set_iov(Transfer& transfer) {
  transfer.iov = {as_iovec(transfer.buffer->bytes.first(transfer.length))};
  return true;
}

// Repeats the file's contents over `to`. At most that many bytes of it are read.
bool fill_from_file(const Console& console, const std::string& path, std::span<std::byte> to) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    fmt::print(console.err, "{}: {}\n", path, std::strerror(errno));
    return false;
  }
  std::size_t nr_read = 0;
  while (nr_read < to.size()) {
    const ssize_t nr = ::read(fd.get(), to.data() + nr_read, to.size() - nr_read);
    if (nr < 0) {
      fmt::print(console.err, "{}: {}\n", path, std::strerror(errno));
      return false;
    }
    if (nr == 0) break;
    nr_read += static_cast<std::size_t>(nr);
  }
  if (nr_read == 0 && !to.empty()) {
    fmt::print(console.err, "{}: file is empty\n", path);
    return false;
  }
  for (std::size_t at = nr_read; at < to.size(); ++at) to[at] = to[at - nr_read];
  return true;
}

// The two operands "off len" of read, write and discard.
bool read_range(const Console& console, const IoCommand& command,
                const std::vector<std::string>& operands, Transfer& transfer,
                bool unlimited = false) {
  if (operands.size() != 2) return print_usage(console.out, command);
  const auto offset = read_number(console.out, operands[0]);
  if (!offset) return false;
  const auto length = read_number(console.out, operands[1]);
  if (!length) return false;
  if (*length > kMaxTransfer && !unlimited) {
    const bool can_be_longer = std::strcmp(command.name, "write") == 0;
    fmt::print(console.out, "length cannot exceed {}{}, given {}\n", kMaxTransfer,
               can_be_longer ? " without -n" : "", operands[1]);
    return false;
  }
  transfer.offset = *offset;
  transfer.length = *length;
  return true;
}

Task<Result<void>> zero(OpenedImage& image, std::uint64_t offset, std::uint64_t length,
                        const TransferFlags& flags) {
  disk::Disk& disk = image.disk();
  if (offset > disk.size() || length > disk.size() - offset) {
    co_return fail(ErrorKind::kOutOfRange, "beyond the end of the image");
  }
  const std::uint64_t cluster = disk.optimal_io_size();
  const std::uint64_t end = offset + length;
  if (flags.no_fallback && (offset % cluster != 0 || (end % cluster != 0 && end != disk.size()))) {
    co_return fail(ErrorKind::kUnsupported, "part of a cluster would be written as data");
  }
  const auto mode = flags.may_unmap ? disk::ZeroMode::kMayUnmap : disk::ZeroMode::kKeepAllocated;
  co_return co_await disk.write_zeroes(offset, length, mode);
}

}  // namespace

bool make_vector(IoShell& shell, std::span<const std::string> lengths, int pattern,
                 Transfer& transfer) {
  std::FILE* out = shell.console().out;
  std::vector<std::uint64_t> sizes;
  for (const std::string& word : lengths) {
    const auto size = read_number(out, word);
    if (!size) return false;
    if (*size > kMaxTransfer || transfer.length > kMaxTransfer - *size) {
      fmt::print(out, "Argument '{}' exceeds maximum size {}\n", word, kMaxTransfer);
      return false;
    }
    sizes.push_back(*size);
    transfer.length += *size;
  }
  transfer.buffer = shell.buffer(transfer.length, pattern);
  if (!transfer.buffer) return false;
  std::size_t at = 0;
  for (std::uint64_t size : sizes) {
    transfer.iov.push_back(as_iovec(transfer.buffer->bytes.subspan(at, size)));
    at += size;
  }
  return true;
}

bool finish_read(const Console& console, const Transfer& transfer) {
  const TransferFlags& flags = transfer.flags;
  const auto elapsed = transfer.elapsed();
  const auto bytes = transfer.buffer->bytes.first(transfer.length);
  bool ok = true;
  if (flags.pattern) {
    const std::uint64_t skip = flags.verify_offset;
    const std::uint64_t length = flags.verify_length.value_or(transfer.length - skip);
    const auto wanted = static_cast<std::byte>(*flags.pattern);
    const auto part = bytes.subspan(skip, length);
    ok = std::all_of(part.begin(), part.end(), [&](std::byte byte) { return byte == wanted; });
    if (!ok) {
      fmt::print(console.out, "Pattern verification failed at offset {}, {} bytes\n",
                 transfer.offset + skip, length);
    }
  }
  if (flags.quiet) return ok;
  if (flags.dump) print_hex_dump(console.out, transfer.offset, bytes);
  print_report(console.out, {"read", elapsed, transfer.offset, transfer.length, transfer.length,
                             flags.machine_readable});
  return ok;
}

void finish_write(const Console& console, const Transfer& transfer, const char* verb) {
  if (transfer.flags.quiet) return;
  print_report(console.out, {verb, transfer.elapsed(), transfer.offset, transfer.length,
                             transfer.length, transfer.flags.machine_readable});
}

Task<Result<void>> do_write(OpenedImage& image, const Transfer& transfer) {
  const TransferFlags& flags = transfer.flags;
  if (flags.zeroes) {
    VMM_CO_CHECK(co_await zero(image, transfer.offset, transfer.length, flags));
  } else if (flags.compressed) {
    VMM_CO_CHECK(co_await image.write_compressed(transfer.offset, transfer.iov));
  } else {
    VMM_CO_CHECK(co_await image.disk().writev(transfer.offset, transfer.iov));
  }
  if (flags.fua) co_return co_await image.disk().flush();
  co_return Result<void>();
}

namespace io_commands_impl {

bool read(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  TransferFlags& flags = transfer.flags;
  OptionReader options(words, "bCl:pP:qs:v", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'b':
        flags.vmstate = true;
        break;
      case 'C':
        flags.machine_readable = true;
        break;
      case 'p':
        break;
      case 'q':
        flags.quiet = true;
        break;
      case 'v':
        flags.dump = true;
        break;
      case 'P':
        flags.pattern = read_pattern(console.out, options.value());
        if (!flags.pattern) return false;
        break;
      case 'l':
      case 's': {
        const auto number = read_number(console.out, options.value());
        if (!number) return false;
        flags.verify_range_given = true;
        if (letter == 's') flags.verify_offset = *number;
        if (letter == 'l') flags.verify_length = number;
        break;
      }
      default:
        return print_usage(console.out, command);
    }
  }
  if (!read_range(console, command, options.operands(), transfer)) return false;
  if (flags.verify_range_given && !flags.pattern) return print_usage(console.out, command);
  if (flags.verify_offset > transfer.length ||
      flags.verify_length.value_or(0) > transfer.length - flags.verify_offset) {
    fmt::print(console.out, "pattern verification range exceeds end of read data\n");
    return false;
  }
  if (flags.vmstate) {
    if (!sector_aligned(console.out, transfer.offset, "offset") ||
        !sector_aligned(console.out, transfer.length, "count")) {
      return false;
    }
    return shell.failed("read", Error(ErrorKind::kUnsupported, "saved machine state"));
  }
  transfer.buffer = shell.buffer(transfer.length, kReadPattern);
  if (!transfer.buffer || !set_iov(transfer)) return false;
  transfer.start = std::chrono::steady_clock::now();
  const Result<void> result =
      shell.wait(shell.image()->disk().readv(transfer.offset, transfer.iov));
  if (!result) return shell.failed("read", result.error());
  return finish_read(console, transfer);
}

bool write(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  TransferFlags& flags = transfer.flags;
  OptionReader options(words, "bcCfnpP:qs:uz", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'b':
        flags.vmstate = true;
        break;
      case 'c':
        flags.compressed = true;
        break;
      case 'C':
        flags.machine_readable = true;
        break;
      case 'f':
        flags.fua = true;
        break;
      case 'n':
        flags.no_fallback = true;
        break;
      case 'p':
        break;
      case 'P':
        flags.pattern = read_pattern(console.out, options.value());
        if (!flags.pattern) return false;
        break;
      case 'q':
        flags.quiet = true;
        break;
      case 's':
        flags.source_file = options.value();
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
  if (options.operands().size() != 2) return print_usage(console.out, command);
  if (flags.vmstate && flags.zeroes)
    return refuse("-b and -z cannot be specified at the same time");
  if (flags.fua && (flags.vmstate || flags.compressed)) {
    return refuse("-f and -b or -c cannot be specified at the same time");
  }
  if (flags.no_fallback && !flags.zeroes) return refuse("-n requires -z to be specified");
  if (flags.may_unmap && !flags.zeroes) return refuse("-u requires -z to be specified");
  if (flags.zeroes + flags.pattern.has_value() + !flags.source_file.empty() > 1) {
    return refuse("Only one of -z, -P, and -s can be specified at the same time");
  }
  if (!read_range(console, command, options.operands(), transfer, flags.no_fallback)) return false;
  if ((flags.vmstate || flags.compressed) &&
      (!sector_aligned(console.out, transfer.offset, "offset") ||
       !sector_aligned(console.out, transfer.length, "count"))) {
    return false;
  }
  if (flags.vmstate) {
    return shell.failed("write", Error(ErrorKind::kUnsupported, "saved machine state"));
  }
  if (!flags.zeroes) {
    transfer.buffer = shell.buffer(transfer.length, flags.pattern.value_or(kDefaultPattern));
    if (!transfer.buffer || !set_iov(transfer)) return false;
    if (!flags.source_file.empty() &&
        !fill_from_file(console, flags.source_file, transfer.buffer->bytes)) {
      return false;
    }
  }
  transfer.start = std::chrono::steady_clock::now();
  const Result<void> result = shell.wait(do_write(*shell.image(), transfer));
  if (!result) return shell.failed("write", result.error());
  finish_write(console, transfer, "wrote");
  return true;
}

bool readv(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  TransferFlags& flags = transfer.flags;
  OptionReader options(words, "CP:qv", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'C':
        flags.machine_readable = true;
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
  const auto& operands = options.operands();
  if (operands.size() < 2) return print_usage(console.out, command);
  const auto offset = read_number(console.out, operands[0]);
  if (!offset) return false;
  transfer.offset = *offset;
  if (!make_vector(shell, std::span(operands).subspan(1), kReadPattern, transfer)) return false;
  transfer.start = std::chrono::steady_clock::now();
  const Result<void> result =
      shell.wait(shell.image()->disk().readv(transfer.offset, transfer.iov));
  if (!result) return shell.failed("readv", result.error());
  return finish_read(console, transfer);
}

bool writev(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  TransferFlags& flags = transfer.flags;
  OptionReader options(words, "CfqP:", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'C':
        flags.machine_readable = true;
        break;
      case 'f':
        flags.fua = true;
        break;
      case 'q':
        flags.quiet = true;
        break;
      case 'P':
        flags.pattern = read_pattern(console.out, options.value());
        if (!flags.pattern) return false;
        break;
      default:
        return print_usage(console.out, command);
    }
  }
  const auto& operands = options.operands();
  if (operands.size() < 2) return print_usage(console.out, command);
  const auto offset = read_number(console.out, operands[0]);
  if (!offset) return false;
  transfer.offset = *offset;
  if (!make_vector(shell, std::span(operands).subspan(1), flags.pattern.value_or(kDefaultPattern),
                   transfer)) {
    return false;
  }
  transfer.start = std::chrono::steady_clock::now();
  const Result<void> result = shell.wait(do_write(*shell.image(), transfer));
  if (!result) return shell.failed("writev", result.error());
  finish_write(console, transfer, "wrote");
  return true;
}

bool discard(IoShell& shell, const IoCommand& command, const IoWords& words) {
  const Console& console = shell.console();
  Transfer transfer;
  OptionReader options(words, "Cq", console.err);
  while (char letter = options.next()) {
    switch (letter) {
      case 'C':
        transfer.flags.machine_readable = true;
        break;
      case 'q':
        transfer.flags.quiet = true;
        break;
      default:
        return print_usage(console.out, command);
    }
  }
  if (!read_range(console, command, options.operands(), transfer)) return false;
  transfer.start = std::chrono::steady_clock::now();
  const Result<void> result =
      shell.wait(shell.image()->disk().discard(transfer.offset, transfer.length));
  if (!result) return shell.failed("discard", result.error());
  finish_write(console, transfer, "discard");
  return true;
}

}  // namespace io_commands_impl
}  // namespace vmm::tools
