// SPDX-License-Identifier: Apache-2.0
// The I/O shell's commands: their table, and how one line becomes a command, options and operands.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm::tools {

class IoShell;
struct IoCommand;

// The words of one line; words[0] names the command.
using IoWords = std::vector<std::string>;

struct IoCommand {
  static constexpr int kManyArguments = -1;

  const char* name;
  const char* alias;  // or null
  bool (*run)(IoShell& shell, const IoCommand& command, const IoWords& words);
  int min_arguments;
  int max_arguments;  // or kManyArguments
  enum class Needs { kNothing, kImage, kWritableImage } needs;
  const char* arguments;  // as the usage line shows them; null: none
  const char* summary;
  const char* help;  // or null
};

// In alphabetical order.
std::span<const IoCommand> io_commands();
const IoCommand* find_io_command(std::string_view name);

// "name arguments -- summary", the answer to a wrong use. Gives false, for `return usage(...)`.
bool print_usage(std::FILE* out, const IoCommand& command);

// Splits at spaces; there is no quoting.
IoWords split_words(std::string_view line);

// Reads options in getopt(3)'s way: they may stand after operands, and "--" ends them.
class OptionReader {
 public:
  // `letters`: each option's letter, with ':' after those that take a value.
  OptionReader(const IoWords& words, const char* letters, std::FILE* err);

  // The next option's letter, '?' after a complaint on `err`, or 0 at the end.
  char next();
  const std::string& value() const { return value_; }  // of the option that next() gave
  // What is no option, in order, once next() gave 0.
  const std::vector<std::string>& operands() const { return operands_; }

 private:
  const IoWords& words_;
  const char* letters_;
  std::FILE* err_;
  std::size_t word_ = 1;      // the word that is read
  std::size_t in_word_ = 0;   // letters of it that were read; 0: none yet
  bool options_end_ = false;  // after "--"
  std::string value_;
  std::vector<std::string> operands_;
};

// These print why they fail on `out`.
std::optional<std::uint64_t> read_number(std::FILE* out, const std::string& text);
std::optional<int> read_pattern(std::FILE* out, const std::string& text);  // one byte

// What one request may transfer: 2^31 - 512 bytes.
inline constexpr std::uint64_t kMaxTransfer = 2147483136;

// The commands, by the file they live in.
namespace io_commands_impl {
#define VMM_IO_COMMAND(name) \
  bool name(IoShell& shell, const IoCommand& command, const IoWords& words)
VMM_IO_COMMAND(read);  // io_transfer.cc
VMM_IO_COMMAND(write);
VMM_IO_COMMAND(readv);
VMM_IO_COMMAND(writev);
VMM_IO_COMMAND(aio_read);  // io_aio.cc
VMM_IO_COMMAND(aio_write);
VMM_IO_COMMAND(aio_flush);
VMM_IO_COMMAND(flush);  // io_image.cc
VMM_IO_COMMAND(discard);
VMM_IO_COMMAND(truncate);
VMM_IO_COMMAND(length);
VMM_IO_COMMAND(map);
VMM_IO_COMMAND(alloc);
VMM_IO_COMMAND(info);
VMM_IO_COMMAND(open);  // io_open.cc
VMM_IO_COMMAND(close);
VMM_IO_COMMAND(reopen);
VMM_IO_COMMAND(help);  // io_process.cc
VMM_IO_COMMAND(quit);
VMM_IO_COMMAND(sleep);
VMM_IO_COMMAND(sigraise);
VMM_IO_COMMAND(abort);
#undef VMM_IO_COMMAND
}  // namespace io_commands_impl

}  // namespace vmm::tools
